# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The segmentation demo in small, and its pictures."""

import argparse
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmvpt.datasets import export_digit_scenes
from tests.config_files import ROOT, load
from tools import demo_seg, runs
from tools.analysis import seg_picture

SCENES = dict(training=4, validation=2, test=3)
SHORT = {'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2}
METHODS = ('UperNet', 'DA-VPT+')


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """Return the arguments and results of a demo of two iterations per run."""
    root = tmp_path_factory.mktemp('demo')
    export_digit_scenes(root / 'data', (0,), SCENES, dict(training=4, validation=2))
    args = argparse.Namespace(out=str(root), data_root=str(root / 'data'), seeds=[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        # formatting the config for a checkpoint takes longer than the training
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda code, **_: (code, 1))
        runs.execute(shortened(demo_seg.pretraining(args)))
        results = {
            (method, 0): runs.execute(shortened(demo_seg.tuning(args, method, 0)))
            for method in METHODS
        }
    return args, results


def shortened(run):
    return dataclasses.replace(run, options={**run.options, **SHORT})


def test_runs_give_miou_and_label_maps(demo):
    args, results = demo
    for method in METHODS:
        result = results[method, 0]
        assert result.figure == 'mIoU' and 0 <= result.test <= 100
        maps = Path(demo_seg.folder(args, method)) / 'seed0/predictions'
        assert sorted(path.name for path in maps.iterdir()) == [
            f'{i:04d}.png' for i in range(SCENES['test'])
        ]
    assert results['DA-VPT+', 0].tuned > results['UperNet', 0].tuned


def test_class_ious_are_those_of_the_metric(demo):
    args, results = demo
    scenes = seg_picture.Scenes(
        load(ROOT / demo_seg.tuning(args, 'UperNet', 0).config).test_dataloader.dataset,
        f'{args.data_root}/digit-scenes-seed0',
    )
    folder = f'{demo_seg.folder(args, "UperNet")}/seed0/predictions'
    ious = seg_picture.class_ious(scenes, folder)
    assert ious.shape == (6,)
    # mmseg rounds to two digits
    assert 100 * np.nanmean(ious) == pytest.approx(
        results['UperNet', 0].test, abs=0.006
    )


def test_picture_and_table(demo, monkeypatch):
    args, results = demo
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(
        demo_seg, 'METHODS', {name: demo_seg.METHODS[name] for name in METHODS}
    )
    demo_seg.picture(results, args)
    picture = cv2.imread(f'{args.out}/results.png')
    assert min(picture.shape[:2]) > 300
    colours = {tuple(c) for c in picture[::3, ::3, ::-1].reshape(-1, 3).tolist()}
    palette = load(ROOT / 'configs/_base_/datasets/digit_scenes.py').metainfo.palette
    assert {tuple(colour) for colour in palette} <= colours
    lines = demo_seg.report(results, [0]).splitlines()
    assert 'test mIoU %' in lines[0]
    assert len(lines) > 3


def test_a_missing_label_map_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='tools/test.py --out'):
        seg_picture.label_map(tmp_path / '0000.png')


def test_every_row_has_a_config():
    for config in demo_seg.METHODS.values():
        assert (ROOT / f'configs/{config}-vit-digits_digit-scenes.py').exists()
    assert (ROOT / demo_seg.PRETRAIN).exists()
