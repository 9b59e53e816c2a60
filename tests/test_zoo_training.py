# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Each method trains and validates on a miniature of each benchmark."""

import json

import pytest
from mmengine.hooks import Hook
from mmengine.runner import Runner

from tests.config_files import ZOO, load
from tests.miniatures import make_fgvc, make_vtab1k

#: The fewest classes of their benchmark, and fewer than 5.
TASKS = ('flowers', 'vtab-kitti')
WIDTH = 24


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    make_fgvc(root / 'fgvc', 'flowers')
    make_vtab1k(root / 'vtab-1k', 'kitti', per_class=10)
    return {'flowers': root / 'fgvc', 'vtab-kitti': root / 'vtab-1k'}


class Start(Hook):
    """Keep the parameters that a training starts from."""

    def before_train(self, runner):
        parameters = runner.model.named_parameters()
        self.values = {key: value.detach().clone() for key, value in parameters}


def kinds():
    """Yield a config of each method and benchmark; other backbones are for a sweep."""
    seen = set()
    for name in ZOO:
        if name.task in TASKS:
            other = (name.method, name.task) in seen
            seen.add((name.method, name.task))
            marks = [pytest.mark.sweep] if other else []
            yield pytest.param(name, id=name.path.stem, marks=marks)


def shrink(config, data_root):
    """Make a run of one iteration of it; the miniature has no checkpoint."""
    for stage in ('train', 'val', 'test'):
        loader = config[f'{stage}_dataloader']
        if loader is not None:
            loader.dataset.data_root, loader.num_workers = str(data_root), 0
            loader.batch_size = min(loader.batch_size, 40)
            loader.dataset.indices = 40  # one batch of training images
    config.model.backbone.update(
        init_cfg=None,
        arch=dict(
            embed_dims=WIDTH, num_layers=12, num_heads=2, feedforward_channels=48
        ),
        patch_size=56,
    )
    if (config.model.backbone.get('prompt') or {}).get('type') == 'KeyValuePrompt':
        config.model.backbone.prompt.num_segments = 8  # they divide the width
    head = config.model.head
    head.in_channels = WIDTH
    if 'mid_channels' in head:
        head.mid_channels = [WIDTH, WIDTH]
    if config.train_cfg.get('type') == 'mmvpt.ConvergedProbeLoop':
        config.train_cfg.l2 = [1.0]
        config.optim_wrapper.optimizer.max_iter = 3
    else:
        config.train_cfg.max_epochs = config.train_cfg.val_interval = 1
        config.param_scheduler.warmup = 0
    config.default_hooks.logger.interval = 1
    if config.optim_wrapper.type == 'AmpOptimWrapper':  # refuses a CPU
        config.optim_wrapper.type = 'OptimWrapper'


@pytest.mark.parametrize('name', kinds())
def test_one_epoch(name, roots, tmp_path):
    config = load(name.path)
    shrink(config, roots[name.task])
    config.work_dir = str(tmp_path)
    config.experiment_name = name.path.stem
    runner = Runner.from_cfg(config)
    start = Start()
    runner.register_hook(start)
    runner.train()

    moved = {True: [], False: []}
    for key, value in runner.model.named_parameters():
        moved[value.requires_grad].append(not value.equal(start.values[key]))
    assert any(moved[True]) and not any(moved[False])
    text = next(tmp_path.rglob('scalars.json')).read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    scores = [row['accuracy/top1'] for row in rows if 'accuracy/top1' in row]
    if name.method == 'gatedvpt' and name.is_vtab:  # has no image to validate on
        assert not scores
        scores = [runner.test()['accuracy/top1']]
    assert scores and all(0 <= score <= 100 for score in scores)
