# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""VTAB's label recipes, on numbers and on raw files."""

import numpy as np
import pytest

from mmvpt.datasets.prepare import TASKS
from mmvpt.datasets.prepare.parsers.arrays import latent_bins, norb_labels
from mmvpt.datasets.prepare.parsers.folders import class_folders
from mmvpt.datasets.prepare.parsers.scenes import (
    clevr_count,
    clevr_distance,
    kitti_distance,
    level_retina,
)
from mmvpt.datasets.prepare.parsers.segmentation import context_59
from mmvpt.datasets.prepare.run import parse
from mmvpt.datasets.prepare.source import Source

from . import raw


def scene(*depths):
    return [{'pixel_coords': [10, 20, depth]} for depth in depths]


@pytest.mark.parametrize('number', [3, 6, 10])
def test_clevr_count(number):
    assert clevr_count(scene(*[9.0] * number)) == number - 3


@pytest.mark.parametrize(
    ('nearest', 'label'),
    # The thresholds themselves belong to the bin below: a bin is (low, high].
    [(7.9, 0), (8.0, 0), (8.1, 1), (8.6, 2), (9.2, 3), (9.7, 4), (10.0, 4), (10.1, 5)],
)
def test_clevr_distance(nearest, label):
    assert clevr_distance(scene(99.0, nearest, 50.0)) == label


def kitti_line(kind, z):
    return f'{kind} 0.00 0 -1.5 1 2 3 4 1.5 1.6 4.1 2.0 1.7 {z} 0.1'


@pytest.mark.parametrize(
    ('objects', 'label'),
    [
        ([('Car', 7.9), ('Car', 50)], 0),
        ([('Van', 8.1)], 1),
        ([('Truck', 20.1)], 2),
        ([('Pedestrian', 3), ('Cyclist', 3), ('Tram', 3), ('Car', 15)], 1),
        ([('DontCare', -1000), ('Pedestrian', 3)], 3),
        ([], 3),
    ],
)
def test_kitti_distance(objects, label):
    assert kitti_distance([kitti_line(*found) for found in objects]) == label


def test_latent_bins():
    # 32 positions: two to a bin; 40 orientations: 2.5 to a bin, so 3 and 2 in turn.
    positions = latent_bins(np.arange(32), 32)
    assert positions.tolist() == [i // 2 for i in range(32)]
    orientations = latent_bins(np.arange(40), 40)
    assert np.bincount(orientations).tolist() == [3, 2] * 8


def test_norb_labels():
    info = np.array([[4, 8, 34, 0], [6, 0, 0, 5], [7, 3, 18, 1]], np.int32)
    assert norb_labels(info, 'elevation').tolist() == [8, 0, 3]
    assert norb_labels(info, 'azimuth').tolist() == [17, 0, 9]


def labels(task, root, part='train'):
    pools = parse(TASKS[task], Source(root, TASKS[task].archives, root / '../scratch'))
    return [item.label for item in pools.items[part]]


def test_raw_files_give_these_labels(tmp_path):
    for maker in (raw.clevr, raw.kitti, raw.dsprites, raw.smallnorb, raw.svhn):
        maker(tmp_path / maker.__name__)
    clevr = tmp_path / 'clevr'
    assert labels('clevr_count', clevr)[:9] == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    # nearest depths 7.5, 8.1, 8.7, 9.3, 9.9, 10.5
    assert labels('clevr_dist', clevr)[:7] == [0, 1, 2, 3, 4, 5, 0]
    sprites = tmp_path / 'dsprites'
    assert labels('dsprites_loc', sprites)[:5] == [0, 0, 1, 1, 2]
    assert labels('dsprites_ori', sprites)[:6] == [0, 0, 0, 1, 1, 2]
    norb = tmp_path / 'smallnorb'
    assert labels('smallnorb_azi', norb)[:20] == [*range(18), 0, 1]
    assert labels('smallnorb_ele', norb)[:11] == [*range(9), 0, 1]
    svhn = tmp_path / 'svhn'
    assert labels('svhn', svhn, 'test') == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    pools = parse(TASKS['kitti'], Source(tmp_path / 'kitti'))
    for items in pools.items.values():
        assert all(item.label == int(item.key[:6]) % 4 for item in items)


def test_kitti_videos_do_not_cross_splits(tmp_path):
    raw.kitti(tmp_path, videos=30, frames=3)
    order = [
        int(i) for i in (tmp_path / 'mapping/train_rand.txt').read_text().split(',')
    ]
    pools = parse(TASKS['kitti'], Source(tmp_path))
    videos = {
        part: {(order[int(item.key[:6])] - 1) // 3 for item in items}
        for part, items in pools.items.items()
    }
    assert [len(videos[p]) for p in ('train', 'validation', 'test')] == [24, 3, 3]
    assert len(set.union(*videos.values())) == 30


def test_sprites_and_toys_become_three_channels(tmp_path):
    import cv2

    raw.dsprites(tmp_path)
    pools = parse(TASKS['dsprites_loc'], Source(tmp_path))
    content = np.frombuffer(pools.items['train'][0].read(), np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    assert image.shape == (64, 64, 3)
    assert np.unique(image).tolist() == [0, 255]


def test_both_versions_of_a_set_agree(tmp_path):
    for task, makers in (
        ('cifar100', (raw.cifar, raw.cifar_binary)),
        ('dsprites_ori', (raw.dsprites, raw.dsprites_hdf5)),
    ):
        found = []
        for maker in makers:
            root = tmp_path / maker.__name__
            maker(root)
            items = parse(TASKS[task], Source(root)).items['train']
            found.append([(i.key, i.label, i.read()) for i in items])
        assert found[0] == found[1]


def test_cars_devkit(tmp_path):
    raw.cars_devkit(tmp_path)
    pools = parse(TASKS['cars'], Source(tmp_path))
    assert [len(pools.items[part]) for part in ('train', 'test')] == [12, 6]
    assert pools.items['test'][0].name == 'cars_test/00001.jpg'
    assert pools.classes == ['AM General Hummer SUV 2000', 'Acura RL', 'Audi S4']


def test_context_59():
    labels = np.array([[0, 1, 2], [9, 458, 459]])
    assert context_59(labels).tolist() == [[0, 0, 1], [2, 59, 0]]


def test_retina_is_scaled_and_cut():
    image = np.zeros((120, 200, 3), np.uint8)
    image[:, 50:150] = 90  # an eye ball of radius 50
    levelled = level_retina(image, radius=100)
    assert levelled.shape == (180, 180, 3)
    assert levelled[0, 0].tolist() == [128, 128, 128]


def test_class_folders_are_named_when_missing(tmp_path):
    raw.eurosat(tmp_path)
    for path in (tmp_path / '2750/Highway').iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="'Highway' is missing or empty"):
        class_folders(Source(tmp_path), TASKS['eurosat'], '2750/')
