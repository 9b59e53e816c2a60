# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""SyncBN without a GPU, and ranks whose norms differ."""

import pytest
import torch
from mmengine.config import Config

from mmvpt.engine import run as launch
from mmvpt.engine.hooks import equal_buffers_hook
from tests.config_files import ROOT


def config():
    """SETR-PUP, whose heads are a list, with one norm that is BN already."""
    path = ROOT / 'configs/_base_/models/setr-pup_vit-large-p16.py'
    config = Config.fromfile(str(path))
    config.model.auxiliary_head[1].norm_cfg.type = 'BN'
    return config


class Built:
    """A runner that keeps what it logs."""

    def __init__(self, config):
        self.logged = []
        self.logger, self.model = self, torch.nn.Identity()

    def warning(self, text):
        self.logged.append(text)


def test_sync_bn_becomes_bn_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(launch.Runner, 'from_cfg', Built)
    changed = config()
    (notice,) = launch.build_runner(changed).logged
    assert 'No GPU: 3 SyncBN of the model became BN' in notice
    assert 'SyncBN' not in str(changed.model)
    assert changed.model.decode_head.norm_cfg.type == 'BN'
    assert not launch.build_runner(changed).logged  # nothing left to say


def test_sync_bn_stays_with_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(launch.Runner, 'from_cfg', Built)
    same = config()
    assert not launch.build_runner(same).logged
    assert same.model.decode_head.norm_cfg.type == 'SyncBN'


@pytest.mark.parametrize(('ranks', 'sent'), [(1, 0), (2, 3)])
def test_buffers_are_sent_to_other_ranks(ranks, sent, monkeypatch):
    buffers = []
    monkeypatch.setattr(equal_buffers_hook.dist, 'get_world_size', lambda: ranks)
    monkeypatch.setattr(equal_buffers_hook.dist, 'broadcast', buffers.append)

    class Runner:
        model = torch.nn.BatchNorm2d(2)

    equal_buffers_hook.EqualBuffersHook().before_val_epoch(Runner())
    assert len(buffers) == sent  # mean, variance, number of batches
