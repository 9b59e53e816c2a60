# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The configs printed in docs/own_data.md train as they stand, on a small ViT."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from tests.miniatures import make_vtab1k

ROOT = Path(__file__).resolve().parents[2]


def blocks():
    text = (ROOT / 'docs/own_data.md').read_text()
    return re.findall(r'```python\n(.*?)```', text, flags=re.DOTALL)


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = make_vtab1k(tmp_path / 'data/flowers', None, num_classes=3, per_class=2)
    for old, new in dict(train800='train', val200='val').items():
        (folder / f'{old}.txt').rename(folder / f'{new}.txt')
    names = ['lily', 'rose', 'tulip']
    (folder / 'classes.txt').write_text('\n'.join(names))
    for split in ('train', 'val', 'test'):
        for line in (folder / f'{split}.txt').read_text().splitlines():
            path, label = line.split()
            parent = tmp_path / 'data/flowers-by-folder' / split / names[int(label)]
            parent.mkdir(parents=True, exist_ok=True)
            (parent / Path(path).name).symlink_to(folder / path)
    (tmp_path / 'configs/own').mkdir(parents=True)
    (tmp_path / 'configs/_base_').symlink_to(ROOT / 'configs/_base_')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('by_folder', [False, True])
def test_documented_config_trains(project, by_folder):
    config, folders = blocks()
    path = project / 'configs/own/flowers.py'
    if by_folder:
        start, end = config.index('own = dict'), config.index('# fewer than')
        config = config[:start] + folders + config[end:]
    path.write_text(config)
    cfg = Config.fromfile(path)
    cfg.work_dir = str(project / 'work_dirs')
    cfg.model.backbone.arch = dict(
        embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32
    )
    cfg.model.backbone.init_cfg = None
    cfg.model.head.in_channels = 16
    cfg.train_cfg.max_epochs = 1
    cfg.param_scheduler = None
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader].num_workers = 0
    cfg.experiment_name = f'own-data-{by_folder}'
    with DefaultScope.overwrite_default_scope(None):
        runner = Runner.from_cfg(cfg)
        runner.train()
        metrics = runner.test()
    assert 0 <= metrics['accuracy/top1'] <= 100
    dataset = runner.train_dataloader.dataset
    assert dataset.metainfo['classes'] == ('lily', 'rose', 'tulip')
    assert len(dataset) == 6
