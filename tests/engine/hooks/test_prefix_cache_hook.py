# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A training with the cache is the training without it."""

from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from mmvpt.engine.hooks import PrefixCacheHook
from mmvpt.models.vit.row_store import Shelf
from tests.engine import miniature

LATE = dict(
    model__backbone__prompt=dict(type='DeepPrompt', num_tokens=3, layers=[1]),
    train_cfg__max_epochs=3,
)
ROW = 17 * 32 * 4  # bytes of one image
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


def full_folder(root, data, num_images):
    """Fill a cache with images of another task, as a finished run leaves it."""
    folder = root / 'cache'
    hook = dict(type='mmvpt.PrefixCacheHook', folder=str(folder))
    hook['max_gb'] = num_images * ROW / 1e9
    train(data, root / 'other', [hook], data_preprocessor__mean=[100.0] * 3)
    assert sum(p.stat().st_size for p in folder.glob('*.bin')) == num_images * ROW
    return hook


def warnings_of(runner):
    (log,) = Path(runner.log_dir).glob('*.log')
    return log.read_text().count('is full (')


def test_a_folder_that_another_task_filled(tmp_path):
    data = miniature.write_data(tmp_path)
    hook = full_folder(tmp_path, data, ALL)
    runner = train(data, tmp_path / 'run', [hook])
    (used,) = (h for h in runner.hooks if isinstance(h, PrefixCacheHook))
    assert (used.cache.hits, used.cache.misses) == (2 * ALL, ALL)
    assert warnings_of(runner) == 0
    held = sum(p.stat().st_size for p in (tmp_path / 'cache').glob('*.bin'))
    assert held == ALL * ROW


@pytest.mark.parametrize('num_images', [0, 7])
def test_a_full_folder_is_said_once_and_changes_nothing(tmp_path, num_images):
    """Another process, which is still running, has filled it but for some images."""
    data = miniature.write_data(tmp_path)
    plain = train(data, tmp_path / 'plain').model.state_dict()
    folder = tmp_path / 'cache'
    other = Shelf(folder / f'{"0" * 32}-k1', 10**9)
    other.data.write_bytes(bytes(100 * ROW))
    max_gb = (100 + num_images) * ROW / 1e9
    hook = dict(type='mmvpt.PrefixCacheHook', folder=str(folder), max_gb=max_gb)
    runner = train(data, tmp_path / 'run', [hook])
    for key, value in runner.model.state_dict().items():
        torch.testing.assert_close(value, plain[key], rtol=1e-6, atol=1e-6)
    (used,) = (h for h in runner.hooks if isinstance(h, PrefixCacheHook))
    assert (used.cache.hits, used.cache.added) == (2 * num_images, num_images)
    assert warnings_of(runner) == 1
    assert other.data.stat().st_size == 100 * ROW
    other.close()


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
