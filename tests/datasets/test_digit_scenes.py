# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvpt.datasets import Draw, digit_scenes, export_digit_scenes
from mmvpt.datasets.digits import load_scans
from tests.config_files import ROOT

FEW = dict(training=3, validation=2, test=2)
FEW_SOURCE = dict(training=3, validation=2)


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp('scenes')
    return export_digit_scenes(root, (0, 1), FEW, FEW_SOURCE)


def read(folder, kind, split, i=0):
    return cv2.imread(str(folder / kind / split / f'{i:04d}.png'), cv2.IMREAD_UNCHANGED)


def test_layout(exported):
    names = ['digit-scenes-source', 'digit-scenes-seed0', 'digit-scenes-seed1']
    assert [folder.name for folder in exported] == names
    for folder, scenes in zip(exported, (FEW_SOURCE, FEW, FEW)):
        classes = (folder / 'classes.txt').read_text().splitlines()
        for kind in ('images', 'annotations'):
            found = {p.name: len(list(p.iterdir())) for p in (folder / kind).iterdir()}
            assert found == scenes
        image, labels = (read(folder, k, 'training') for k in ('images', 'annotations'))
        assert image.shape == labels.shape == (digit_scenes.SIZE,) * 2
        assert image.dtype == labels.dtype == np.uint8
        present = set(np.unique(labels)) - {255}
        assert 0 in present and len(present) > 1 and max(present) < len(classes)


def test_same_seed_same_files_other_seed_others(exported, tmp_path):
    again = export_digit_scenes(tmp_path, (1,), FEW, FEW_SOURCE)
    for split in FEW:
        for kind in ('images', 'annotations'):
            one, other = read(exported[2], kind, split), read(again[1], kind, split)
            assert np.array_equal(one, other)
        assert not np.array_equal(
            read(exported[1], 'images', split), read(exported[2], 'images', split)
        )


def test_labels_are_the_ink_of_their_digit():
    scans, digits = load_scans()
    eights = np.flatnonzero(digits == 8)
    rng = np.random.default_rng(0)
    image, labels = digit_scenes.compose(scans, digits, eights, rng)
    assert set(np.unique(labels)) == {0, 8, 255}
    ink, ground = image[labels == 8], image[labels == 0]
    assert ink.mean() > 180 > 80 > ground.mean()
    # the edge lies around the ink
    grown = cv2.dilate((labels == 8).astype(np.uint8), np.ones((9, 9)))
    assert (grown[labels == 255] > 0).mean() > 0.9


def test_splits_share_no_scan():
    _, digits = load_scans()
    labels = np.where(digits >= 5, digits - 4, 0)
    parts = digit_scenes._split(labels, digit_scenes._SHARES, np.random.default_rng(0))
    together = np.concatenate(list(parts.values()))
    assert len(together) == len(set(together)) == (labels > 0).sum()
    for part in parts.values():
        assert set(labels[part]) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize('name', ['digit_scenes', 'digit_scenes_source'])
def test_the_configs_read_them(exported, name):
    from mmseg.registry import DATASETS

    init_default_scope('mmseg')
    config = Config.fromfile(ROOT / f'configs/_base_/datasets/{name}.py')
    folder = exported[0 if 'source' in name else 1]
    for stage in ('train', 'val'):
        settings = config[f'{stage}_dataloader'].dataset
        settings.data_root = str(folder)
        dataset = DATASETS.build(settings)
        classes = (folder / 'classes.txt').read_text().splitlines()
        assert list(dataset.metainfo['classes']) == classes
        assert len(dataset.metainfo['palette']) == len(classes)
        assert len(dataset) == (3 if stage == 'train' else 2)
        sample = dataset[Draw(0, seed=0)]
        size = 64 if stage == 'train' else digit_scenes.SIZE
        assert sample['inputs'].shape == (3, size, size)
        truth = sample['data_samples'].gt_sem_seg.data
        assert truth.shape == (1, size, size)


@pytest.mark.parametrize(
    'scenes', [dict(training=1), dict(FEW, test=0), dict(FEW, more=1)]
)
def test_wrong_splits(tmp_path, scenes):
    with pytest.raises(ValueError, match='at least 1 for each of'):
        export_digit_scenes(tmp_path, (0,), scenes)
    assert not list(tmp_path.iterdir())
