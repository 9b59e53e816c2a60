# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
import json

import pytest

from mmvpt.datasets import FGVC
from tests.miniatures import FEW, make_fgvc


@pytest.fixture
def folder(tmp_path):
    return make_fgvc(tmp_path, 'cub', num_classes=4)


def cub(folder, split='train', num_classes=4, **kwargs):
    return FGVC('cub', split, folder.parent, num_classes=num_classes, **kwargs)


def labels(dataset):
    return dataset.get_gt_labels().tolist()


def rewrite(folder, split, content):
    (folder / f'{split}.json').write_text(
        content if isinstance(content, str) else json.dumps(content)
    )


@pytest.mark.parametrize('name', FGVC.TASKS)
def test_every_task_loads_every_split(tmp_path, name):
    make_fgvc(tmp_path, name, size=(4, 4))
    classes = FGVC.TASKS[name].num_classes
    sizes = dict(train=classes, val=FEW, trainval=classes + FEW, test=FEW)
    for split, size in sizes.items():
        dataset = FGVC(name, split, tmp_path)
        assert len(dataset) == size
        assert len(dataset.metainfo['classes']) == classes
    assert {t: FGVC.TASKS[t].num_classes for t in FGVC.TASKS} == dict(
        cub=200, nabirds=555, flowers=102, dogs=120, cars=196
    )


def test_every_split_uses_the_classes_of_train(folder):
    train = json.loads((folder / 'train.json').read_text())
    images = list(train)
    rewrite(folder, 'train', dict(zip(images, [30, 7, 100, 9])))
    rewrite(folder, 'val', {images[0]: 100, images[1]: 9})
    rewrite(folder, 'test', {images[2]: 100})
    assert labels(cub(folder)) == [2, 0, 3, 1]
    assert labels(cub(folder, 'val')) == [3, 1]
    assert labels(cub(folder, 'trainval')) == [2, 0, 3, 1, 3, 1]
    assert labels(cub(folder, 'test')) == [3]


def test_ids_are_sorted_as_numbers(folder):
    images = list(json.loads((folder / 'train.json').read_text()))
    rewrite(folder, 'train', dict(zip(images, ['10', '9', '2', '1'])))
    assert labels(cub(folder)) == [3, 2, 1, 0]


def test_folder_names(folder):
    other = folder.rename(folder.parent / 'CUB_200_2011')
    assert len(cub(other)) == 4
    moved = other.rename(other.parent / 'my birds')
    assert len(FGVC('cub', data_root=moved, num_classes=4)) == 4


def test_dogs_in_lower_case(tmp_path):
    folder = make_fgvc(tmp_path, 'dogs', num_classes=3)
    (folder / 'Images').rename(folder / 'images')
    dataset = FGVC('dogs', 'train', tmp_path, num_classes=3)
    assert '/images/' in dataset.get_data_info(0)['img_path']


def test_paths_lie_under_images(folder):
    path = cub(folder).get_data_info(0)['img_path']
    assert path == str(folder / 'images/001.some bird/train_0000.jpg')


def test_number_of_classes_is_verified(folder):
    with pytest.raises(ValueError, match='has 4 classes, expected 200'):
        cub(folder, num_classes=None)
    with pytest.raises(ValueError, match='has 4 classes, expected 5'):
        cub(folder, 'val', num_classes=5)


def test_class_that_train_does_not_have(folder):
    images = list(json.loads((folder / 'val.json').read_text()))
    rewrite(folder, 'val', {images[0]: 1, images[1]: 77})
    with pytest.raises(ValueError, match=r"val.json, entry '002.*class id 77 .*train"):
        cub(folder, 'val')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"a.jpg": 1,}', 'val.json is not valid JSON: .*line 1 column'),
        ([1, 2], 'val.json holds a list'),
        ({}, 'val.json lists no image'),
        ({'a.jpg': 'sparrow'}, "entry 'a.jpg': class id 'sparrow' is not an integer"),
        ({'a.jpg': 1.5}, 'class id 1.5 is not an integer'),
        ({'a.jpg': True}, 'class id True is not an integer'),
        ({'a.jpg': 1}, r"1 listed images do not exist.*\n.*entry 'a.jpg'"),
    ],
)
def test_bad_split_files(folder, content, message):
    rewrite(folder, 'val', content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        cub(folder, 'val')


def test_missing_files(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match='CUB200.* does not exist. Put'):
        FGVC('cub', data_root=tmp_path / 'nowhere')
    (folder / 'test.json').unlink()
    with pytest.raises(FileNotFoundError, match="test.json' does not exist"):
        cub(folder, 'test')


def test_unknown_names():
    with pytest.raises(ValueError, match="'nabird'. Did you mean 'nabirds'"):
        FGVC('nabird')
    with pytest.raises(ValueError, match="'train800'.*train, val, trainval, test"):
        FGVC('cub', 'train800')


def test_images_can_be_cached(folder):
    pipeline = [dict(type='LoadImageFromFile')]
    plain = cub(folder, pipeline=pipeline)
    cached = cub(folder, pipeline=pipeline, cache_images=True)
    assert (plain[2]['img'] == cached[2]['img']).all()
