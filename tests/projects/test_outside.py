# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The configs of docs/other_projects.md, which inherit nothing of ours, train."""

import re

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from tests.datasets.own.pictures import class_folders, pairs
from tests.tools.programs import ROOT

PAGE = ROOT / 'docs/other_projects.md'
ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def documented(name):
    """Return the config of the page whose first line names ``name``, made small."""
    blocks = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
    (block,) = (block for block in blocks if block.startswith(f'# {name}'))
    config = Config.fromstring(block, '.py')
    config.model.backbone.update(arch=ARCH, init_cfg=None)
    config.train_dataloader.num_workers = 0
    config.work_dir = 'work'
    config.experiment_name = name
    return config


def train(config):
    with DefaultScope.overwrite_default_scope(None):
        runner = Runner.from_cfg(config)
        runner.train()
    return runner


def test_mmpretrain(here):
    class_folders(here / 'flowers/train', a=2, b=2, c=1, d=1, e=1)
    config = documented('vpt_flowers.py')
    config.model.head.in_channels = 16
    config.train_cfg.max_epochs = 1
    runner = train(config)
    groups = runner.optim_wrapper.param_groups
    held = {id(p) for group in groups for p in group['params']}
    tuned = {n for n, p in runner.model.named_parameters() if id(p) in held}
    assert tuned == {'backbone.prompt.tokens', 'head.fc.weight', 'head.fc.bias'}


def test_mmseg(here):
    pairs(here / 'scenes', 3)
    config = documented('davpt_scenes.py')
    config.model.data_preprocessor.size = (32, 32)
    config.model.decode_head.update(in_channels=16, channels=8)
    config.train_cfg.max_iters = 2
    runner = train(config)
    assert runner.message_hub.get_scalar('train/loss_metric_visual').current() > 0
    assert (runner.model.backbone.prompt.class_to_prompt >= 0).all()
