# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The demos: their table, their paths, the picture of `make demo`."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from mmvpt.analysis.pictures.demo import draw
from mmvpt.bench import demo as demonstration
from mmvpt.bench.demo import DIGIT_SCENES, DIGITS, Result
from tests.bench.invented import record
from tests.miniatures import write_image

ROOT = Path(__file__).parents[2]
WEIGHTS = 'model.backbone.init_cfg.checkpoint'


def plan(demo, out='out', data='data', seeds=(0, 1)):
    return demonstration.plan(demo, out, data, seeds)


@pytest.fixture(scope='module')
def methods():
    return plan(DIGITS)[0].methods


@pytest.fixture
def results(methods):
    return {
        (method, seed): Result(100, 2.0, 50.0, 60.0 + 2 * i + seed)
        for i, method in enumerate(methods)
        for seed in (0, 1)
    }


def test_it_compares_with_the_reference(methods, results):
    table = demonstration.table(DIGITS, results, methods, [0, 1])
    lines = table.splitlines()
    assert len(lines) == len(methods) + 2
    assert 'val top-1 %' in lines[0] and 'vs probe' in lines[0]
    assert [line.split('|')[-2].strip() for line in lines[2:5]] == ['', '+2.0', '+4.0']
    assert '60.5 ± 0.7' in lines[2]


@pytest.mark.parametrize(
    'demo, data, weights',
    [
        (DIGITS, 'digits-target-seed5', 'epoch_15.pth'),
        (DIGIT_SCENES, 'digit-scenes-seed5', 'iter_1000.pth'),
    ],
)
def test_files_lie_where_the_command_line_says(demo, data, weights):
    suite, settings = plan(demo, 'a/b', 'c', [5])
    assert settings.seeds == (5,) and settings.out == Path('a/b')
    assert demo.reference in suite.methods and (ROOT / demo.pretrain).is_file()
    folders = demonstration.folders(suite, settings)
    assert list(folders) == list(suite.methods)
    for cell in suite.cells.values():
        assert (ROOT / cell.config).is_file()
        assert folders[cell.method] == Path('a/b') / cell.folder / 'seed5'
        options = cell.seeded(5)
        for stage in ('train', 'val', 'test'):
            assert options[f'{stage}_dataloader.dataset.data_root'] == f'c/{data}'
        assert options[WEIGHTS] == f'a/b/pretrain/{weights}'


def test_only_paths_move():
    options = {'a': 'data/x', 'b': 'my/data/x', 'c': 3, 'd': 'out/y'}
    moves = {'data/': '/tmp/"it"/', 'out/': 'data/'}
    assert demonstration.moved(options, moves) == {
        'a': '/tmp/"it"/x',
        'b': 'my/data/x',
        'c': 3,
        'd': 'data/y',
    }


def test_a_row_is_taken_from_a_record():
    metrics = {'accuracy/top1': 71.0}
    row = demonstration.result(record(metrics__val=metrics))
    assert row == Result(128303, 60.0, 71.0, 66.0)


def test_an_earlier_demo_is_forgotten(tmp_path):
    suite, settings = plan(DIGITS, str(tmp_path), seeds=[0])
    kept = tmp_path / 'davpt' / 'seed7'
    for folder in (tmp_path / 'records', tmp_path / 'davpt' / 'seed0', kept):
        folder.mkdir(parents=True)
    demonstration.forget(suite, settings)
    assert sorted(p.name for p in tmp_path.rglob('*')) == ['davpt', 'seed7']


def test_picture(tmp_path, methods, results):
    image = tmp_path / 'image.png'
    write_image(image, (8, 8), np.random.default_rng(0))
    folders = {}
    for i, method in enumerate(methods):
        folders[method] = tmp_path / str(i) / 'seed0'
        folders[method].mkdir(parents=True)
        item = dict(
            img_path=str(image), gt_label=np.array([1]), pred_label=np.array([i])
        )
        (folders[method] / 'predictions.pkl').write_bytes(pickle.dumps([item]))
    draw(results, methods, DIGITS.reference, 0, tmp_path / 'out.png', folders)
    assert (tmp_path / 'out.png').stat().st_size > 10000
