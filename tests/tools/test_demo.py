# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The demo: its table, its paths, its picture."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.miniatures import write_image
from tests.protocol.invented import record
from tools import demo
from tools.analysis.demo_picture import draw

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def methods():
    suite, _ = demo.plan(demo.parse_args([]))
    return suite.methods


@pytest.fixture
def results(methods):
    return {
        (method, seed): demo.Result(100, 2.0, 50.0, 60.0 + 2 * i + seed)
        for i, method in enumerate(methods)
        for seed in (0, 1)
    }


def test_it_compares_with_the_probe(methods, results):
    lines = demo.report(results, methods, [0, 1]).splitlines()
    assert len(lines) > len(methods) + 2
    assert [line.split('|')[-2].strip() for line in lines[2:5]] == ['', '+2.0', '+4.0']
    assert '60.5 ± 0.7' in lines[2]


def test_files_lie_where_the_command_line_says(methods):
    args = demo.parse_args(['--out', 'a/b', '--data-root', 'c', '--seeds', '5'])
    suite, settings = demo.plan(args)
    assert settings.seeds == (5,) and settings.out == Path('a/b')
    assert methods[0] == demo.REFERENCE
    for cell in suite.cells.values():
        assert (ROOT / cell.config).is_file()
        options = cell.seeded(5)
        for stage in ('train', 'val', 'test'):
            key = f'{stage}_dataloader.dataset.data_root'
            assert options[key] == 'c/digits-target-seed5'
        weights = options['model.backbone.init_cfg.checkpoint']
        assert weights == f'a/b/pretrain/epoch_{demo.EPOCHS}.pth'


def test_a_row_is_taken_from_a_record():
    metrics = {'accuracy/top1': 71.0}
    row = demo.result(record(metrics__val=metrics))
    assert row == demo.Result(128303, 60.0, 71.0, 66.0)


def test_an_earlier_demo_is_forgotten(tmp_path):
    suite, _ = demo.plan(demo.parse_args([]))
    kept = tmp_path / 'davpt' / 'seed7'
    for folder in (tmp_path / 'records', tmp_path / 'davpt' / 'seed0', kept):
        folder.mkdir(parents=True)
    demo.forget(tmp_path, suite, [0])
    assert sorted(p.name for p in tmp_path.rglob('*')) == ['davpt', 'seed7']


def test_picture(tmp_path, methods, results):
    image = tmp_path / 'image.png'
    write_image(image, (8, 8), np.random.default_rng(0))
    folders = {}
    for i, method in enumerate(methods):
        folders[method] = str(tmp_path / str(i))
        seed = tmp_path / str(i) / 'seed0'
        seed.mkdir(parents=True)
        item = dict(
            img_path=str(image), gt_label=np.array([1]), pred_label=np.array([i])
        )
        (seed / 'predictions.pkl').write_bytes(pickle.dumps([item]))
    draw(results, methods, demo.REFERENCE, 0, tmp_path / 'out.png', folders)
    assert (tmp_path / 'out.png').stat().st_size > 10000
