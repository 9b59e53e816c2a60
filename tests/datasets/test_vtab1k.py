# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
from collections import Counter

import pytest
from mmengine.logging import MMLogger

from mmvpt.datasets import VTAB1k
from mmvpt.registry import DATASETS
from tests.miniatures import FEW, make_vtab1k


@pytest.fixture
def folder(tmp_path):
    return make_vtab1k(tmp_path, None, num_classes=3)


@pytest.fixture
def warnings(monkeypatch):
    lines = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'warning', lambda text, *_: lines.append(text))
    return lines


def test_the_nineteen_tasks():
    assert len(VTAB1k.TASKS) == 19
    groups = Counter(task.group for task in VTAB1k.TASKS.values())
    assert groups == dict(natural=7, specialized=4, structured=8)
    assert VTAB1k.TASKS['cifar100'] == ('cifar', 100, 'natural')
    assert sum(task.num_classes for task in VTAB1k.TASKS.values()) == 940


@pytest.mark.parametrize('task', VTAB1k.TASKS)
def test_every_task_loads_every_split(tmp_path, task):
    make_vtab1k(tmp_path, task, size=(4, 4))
    classes = VTAB1k.TASKS[task].num_classes
    sizes = dict(train800=classes, val200=FEW, train800val200=classes + FEW, test=FEW)
    for split, size in sizes.items():
        dataset = VTAB1k(task, split, tmp_path)
        assert len(dataset) == size
        assert dataset.metainfo['classes'] == tuple(map(str, range(classes)))


def test_builds_from_a_config_of_another_scope(tmp_path):
    make_vtab1k(tmp_path, 'kitti')
    cfg = dict(type='mmvpt.VTAB1k', task='kitti', data_root=str(tmp_path))
    assert isinstance(DATASETS.build(cfg), VTAB1k)


def test_labels_and_paths(folder):
    dataset = VTAB1k(None, 'val200', folder)
    info = dataset.get_data_info(4)
    assert info['img_path'] == str(folder / 'images/val200/00004.png')
    assert info['gt_label'] == 4 % 3


def test_paths_with_spaces_blank_lines_and_windows_ends(folder):
    old = folder / 'images/test/00000.png'
    old.rename(folder / 'images/a b  c.png')
    (folder / 'odd.txt').write_bytes(
        b'\xef\xbb\xbfimages/a b  c.png 2\r\n\r\n\timages/test/00001.jpg\t1\n\n'
    )
    dataset = VTAB1k(None, 'odd', folder)
    assert [dataset.get_data_info(i)['gt_label'] for i in range(2)] == [2, 1]
    assert dataset.get_data_info(0)['img_path'].endswith('a b  c.png')


def test_an_official_task_warns_of_other_counts(tmp_path, warnings):
    make_vtab1k(tmp_path, 'kitti')
    VTAB1k('kitti', 'val200', tmp_path)
    assert len(warnings) == 1
    assert f'lists {FEW} images, VTAB-1k has 200' in warnings[0]
    VTAB1k('kitti', 'test', tmp_path)  # test sizes differ from task to task
    make_vtab1k(tmp_path / 'own', None)
    VTAB1k(None, 'val200', tmp_path / 'own')
    assert len(warnings) == 1


def test_right_counts_do_not_warn(tmp_path, warnings):
    make_vtab1k(tmp_path, 'kitti', size=(4, 4), per_class=200)
    VTAB1k('kitti', 'train800', tmp_path)
    assert warnings == []


def test_missing_data_root(tmp_path):
    with pytest.raises(FileNotFoundError, match="svhn' does not exist. Unpack"):
        VTAB1k('svhn', data_root=tmp_path)
    with pytest.raises(FileNotFoundError, match='own task does not exist'):
        VTAB1k(None, data_root=tmp_path / 'nowhere')


def test_missing_list_names_those_that_exist(folder):
    (folder / 'test.txt').unlink()
    with pytest.raises(
        FileNotFoundError, match='test.txt.*train800, train800val200, val200'
    ):
        VTAB1k(None, 'test', folder)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('images/test/00000.png', "line 2: expected 'path label', got 'images"),
        ('1', "line 2: expected 'path label'"),
        ('images/test/00000.png cat', "line 2: label 'cat' is not an integer"),
        ('images/test/00000.png 1.0', "line 2: label '1.0' is not an integer"),
        ('images/test/00000.png 3', 'line 2: label 3 .* outside 0..2'),
    ],
)
def test_bad_lines(folder, line, message):
    (folder / 'bad.txt').write_text(f'images/test/00000.png 0\n{line}\n')
    with pytest.raises(ValueError, match=message) as error:
        VTAB1k(None, 'bad', folder)
    assert 'bad.txt' in str(error.value)


def test_empty_and_binary_lists(folder):
    (folder / 'bad.txt').write_text('\n \n')
    with pytest.raises(ValueError, match='bad.txt is empty'):
        VTAB1k(None, 'bad', folder)
    (folder / 'bad.txt').write_bytes(b'\xff\xd8\xff\xe0 1\n')
    with pytest.raises(ValueError, match='bad.txt is not UTF-8'):
        VTAB1k(None, 'bad', folder)


def test_unknown_names():
    with pytest.raises(ValueError, match="'cifar10'. Did you mean 'cifar100'"):
        VTAB1k('cifar10')
    with pytest.raises(ValueError, match="split 'train'.*train800, val200"):
        VTAB1k('dtd', 'train')
    with pytest.raises(ValueError, match="'dtd' has 47 classes, got num_classes=40"):
        VTAB1k('dtd', num_classes=40)


def test_label_beyond_an_official_task(tmp_path):
    make_vtab1k(tmp_path, 'kitti', num_classes=5)
    with pytest.raises(ValueError, match='line 5: label 4 .*outside 0..3'):
        VTAB1k('kitti', 'train800', tmp_path)
