# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A training with the cache is the training without it."""

from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from mmvpt.engine.hooks import PrefixCacheHook
from tests.engine import miniature

LATE = dict(
    model__backbone__prompt=dict(type='DeepPrompt', num_tokens=3, layers=[1]),
    train_cfg__max_epochs=3,
)
WIDE = 512  # channels, so that an image has a file of its own
ROW = 17 * WIDE * 4  # bytes of one image
ALL = 24 + 9  # to train and to validate on


def train(data, work_dir, hooks=(), still=True, **changes):
    cfg = miniature.config(data, **{**LATE, **changes})
    cfg.work_dir = str(work_dir)
    cfg.custom_hooks = list(hooks)
    if still:
        pipeline = cfg.train_dataloader.dataset.pipeline
        cfg.train_dataloader.dataset.pipeline = [pipeline[0], pipeline[-1]]
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def test_training_is_that_without_the_cache(tmp_path):
    data = miniature.write_data(tmp_path)
    hook = dict(type='mmvpt.PrefixCacheHook', folder=str(tmp_path / 'cache'))
    plain = train(data, tmp_path / 'plain').model.state_dict()
    hits = []
    for name in ('first', 'second'):
        runner = train(data, tmp_path / name, [hook])
        for key, value in runner.model.state_dict().items():
            torch.testing.assert_close(value, plain[key], rtol=1e-6, atol=1e-6)
        (used,) = (h for h in runner.hooks if isinstance(h, PrefixCacheHook))
        hits.append((used.cache.hits, used.cache.misses))
        assert runner.model.backbone.prefix_cache is None
    # Three epochs; the second run knows all.
    assert hits == [(2 * ALL, ALL), (3 * ALL, 0)]


def test_random_transforms_are_refused(tmp_path):
    hook = dict(type='mmvpt.PrefixCacheHook', folder=str(tmp_path / 'cache'))
    data = miniature.write_data(tmp_path)
    with pytest.raises(ValueError, match='Random transforms make each one new'):
        train(data, tmp_path / 'run', [hook], still=False)


def warnings_of(runner):
    (log,) = Path(runner.log_dir).glob('*.log')
    return log.read_text().count('is full (')


def test_a_full_folder_is_said_once_and_changes_nothing(tmp_path):
    data = miniature.write_data(tmp_path)
    wide = dict(model__backbone__arch__embed_dims=WIDE, model__head__in_channels=WIDE)
    plain = train(data, tmp_path / 'plain', **wide).model.state_dict()
    folder = str(tmp_path / 'cache')
    hook = dict(type='mmvpt.PrefixCacheHook', folder=folder, max_gb=20 * ROW / 1e9)
    runner = train(data, tmp_path / 'run', [hook], **wide)
    for key, value in runner.model.state_dict().items():
        torch.testing.assert_close(value, plain[key], rtol=1e-5, atol=1e-6)
    (used,) = (h for h in runner.hooks if isinstance(h, PrefixCacheHook))
    assert used.cache.added == 20
    assert warnings_of(runner) == 1


def test_bad_options(tmp_path):
    with pytest.raises(ValueError, match='max_gb must be positive'):
        PrefixCacheHook(max_gb=0)
    data = miniature.write_data(tmp_path)
    hook = dict(type='mmvpt.PrefixCacheHook', folder=str(tmp_path / 'cache'))
    with pytest.raises(ValueError, match='no layer runs before'):
        train(
            data,
            tmp_path / 'run',
            [hook],
            model__backbone__prompt=dict(type='DeepPrompt', num_tokens=3),
        )
