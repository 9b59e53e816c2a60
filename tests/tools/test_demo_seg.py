# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The segmentation demo in small, and its pictures."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mmvpt.analysis.pictures import demo_seg as seg_picture
from mmvpt.bench import demo as demonstration
from mmvpt.bench import finals
from mmvpt.bench.demo import DIGIT_SCENES
from mmvpt.datasets import export_digit_scenes
from tests.bench.inline_pool import InlinePool
from tests.config_files import ROOT, load

SCENES = dict(training=4, validation=2, test=3)
SHORT = {'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2}
METHODS = ('UperNet', 'DA-VPT+')


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """Return suite, settings and results of a demo of two iterations per run."""
    root = tmp_path_factory.mktemp('demo')
    data = root / 'data'
    export_digit_scenes(data, (0,), SCENES, dict(training=4, validation=2))
    suite, settings = demonstration.plan(DIGIT_SCENES, str(root), str(data), [0])
    weights = {'model.backbone.init_cfg.checkpoint': str(root / 'pretrain/iter_2.pth')}
    cells = {
        key: replace(cell, options={**cell.options, **SHORT, **weights})
        for key, cell in suite.cells.items()
        if cell.method in METHODS
    }
    suite = replace(suite, methods=METHODS, cells=cells)
    source = demonstration.data_options(str(data / 'digit-scenes-source'))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        finals.pretrain(
            dict(
                config=DIGIT_SCENES.pretrain,
                options={**source, **SHORT},
                work_dir=str(root / 'pretrain'),
            )
        )
        results = demonstration.tune(InlinePool(), suite, settings)
    return suite, settings, results


def test_runs_give_miou_and_label_maps(demo):
    suite, settings, results = demo
    for method, folder in demonstration.folders(suite, settings).items():
        assert 0 <= results[method, 0].test <= 100
        maps = folder / 'predictions'
        assert sorted(path.name for path in maps.iterdir()) == [
            f'{i:04d}.png' for i in range(SCENES['test'])
        ]
    assert results['DA-VPT+', 0].tuned > results['UperNet', 0].tuned
    assert len(list(settings.out.glob('records/demo_seg/*/*/*.json'))) == 2


def test_class_ious_are_those_of_the_metric(demo):
    suite, settings, results = demo
    config = suite.cells['UperNet', 'digit-scenes'].config
    scenes = seg_picture.Scenes(
        load(ROOT / config).test_dataloader.dataset,
        f'{settings.out}/data/digit-scenes-seed0',
    )
    folder = demonstration.folders(suite, settings)['UperNet']
    ious = seg_picture.class_ious(scenes, str(folder / 'predictions'))
    assert ious.shape == (6,)
    # mmseg rounds to two digits
    assert 100 * np.nanmean(ious) == pytest.approx(
        results['UperNet', 0].test, abs=0.006
    )


def test_picture(demo, monkeypatch):
    suite, settings, results = demo
    monkeypatch.chdir(ROOT)
    path = settings.out / 'results.png'
    data = f'{settings.out}/data'
    DIGIT_SCENES.draw(DIGIT_SCENES, results, suite, settings, data, path)
    picture = cv2.imread(str(path))
    assert min(picture.shape[:2]) > 300
    colours = {tuple(c) for c in picture[::3, ::3, ::-1].reshape(-1, 3).tolist()}
    palette = load(ROOT / 'configs/_base_/datasets/digit_scenes.py').metainfo.palette
    assert {tuple(colour) for colour in palette} <= colours


def test_a_missing_label_map_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='tools/test.py --out'):
        seg_picture.label_map(tmp_path / '0000.png')
