# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits

from mmvpt.datasets import VTAB1k, digits, export_digits
from mmvpt.errors import run_tool
from tests.tools.programs import load_tool


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp('digits')
    return root, export_digits(root, seeds=(0, 1))


def lines(path):
    return path.read_text().splitlines()


def own(folder, split):
    return VTAB1k(None, split, folder, pipeline=[dict(type='LoadImageFromFile')])


def test_source(exported):
    _, (source, *_) = exported
    sizes = {split: len(own(source, split)) for split in ('train', 'val', 'trainval')}
    assert sizes == dict(train=3244, val=360, trainval=3604)
    dataset = own(source, 'trainval')
    assert dataset.num_classes == 20
    assert set(dataset.get_gt_labels()) == set(range(20))


def test_no_scan_is_in_both_source_splits(exported):
    _, (source, *_) = exported
    scans = {
        split: {Path(line.split()[0]).name for line in lines(source / f'{split}.txt')}
        for split in ('train', 'val')
    }
    assert not scans['train'] & scans['val']


def test_target(exported):
    _, (_, first, second) = exported
    for folder in (first, second):
        sizes = dict(train800=200, val200=75, train800val200=275, test=621)
        for split, size in sizes.items():
            assert len(own(folder, split)) == size
        counts = np.bincount(own(folder, 'train800').get_gt_labels())
        assert counts.tolist() == [40] * 5
        assert np.bincount(own(folder, 'val200').get_gt_labels()).tolist() == [15] * 5
        parts = [
            set(lines(folder / f'{s}.txt')) for s in ('train800', 'val200', 'test')
        ]
        assert len(set.union(*parts)) == 896
        assert own(folder, 'test').metainfo['classes'] == ('5', '6', '7', '8', '9')
    assert lines(first / 'train800.txt') != lines(second / 'train800.txt')


def test_pixels(exported):
    _, (source, target, _) = exported
    scans = load_digits()
    for name in ('images/7/0007.png', 'images/5/0005.png'):
        got = cv2.imread(str(target / name), cv2.IMREAD_UNCHANGED)
        assert got.dtype == np.uint8 and got.shape == (8, 8)
        scan = scans.images[int(Path(name).stem)]
        np.testing.assert_allclose(got / 127.5 - 1, scan / 8 - 1, atol=1 / 255)
        assert scans.target[int(Path(name).stem)] == int(Path(name).parent.name)
    turned = cv2.imread(str(source / 'images/3_90/0003.png'), cv2.IMREAD_UNCHANGED)
    upright = cv2.imread(str(source / 'images/3_0/0003.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(turned, np.rot90(upright))
    line = next(s for s in lines(source / 'trainval.txt') if '3_90/0003.png' in s)
    assert lines(source / 'classes.txt')[int(line.split()[1])] == '3 turned by 90'


def test_second_export_changes_nothing(exported):
    root, folders = exported
    before = {p: p.stat().st_mtime_ns for p in root.rglob('*')}
    assert export_digits(root, seeds=(0, 1)) == folders
    assert {p: p.stat().st_mtime_ns for p in root.rglob('*')} == before


def test_nothing_else_is_overwritten(tmp_path):
    (tmp_path / 'digits-source').mkdir()
    with pytest.raises(FileExistsError, match='no export of the digits. Remove'):
        export_digits(tmp_path)
    assert list((tmp_path / 'digits-source').iterdir()) == []


def test_other_sizes_are_refused(exported):
    with pytest.raises(FileExistsError, match='another export of the digits'):
        export_digits(exported[0], train_per_class=10)


def test_interrupted_export_leaves_no_folder(tmp_path, monkeypatch):
    encode = cv2.imencode
    calls = []

    def fail(*args):
        calls.append(args)
        if len(calls) == 50:
            raise OSError('no space left on device')
        return encode(*args)

    monkeypatch.setattr(digits.cv2, 'imencode', fail)
    with pytest.raises(OSError, match='no space'):
        export_digits(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('sizes', [(0, 15), (40, 0), (160, 14)])
def test_impossible_sizes(tmp_path, sizes):
    with pytest.raises(ValueError, match='together below 174'):
        export_digits(tmp_path, (0,), *sizes)
    assert list(tmp_path.iterdir()) == []


def test_command_line(tmp_path, monkeypatch, capsys):
    (tmp_path / 'digits-source').mkdir()
    main = load_tool('data/export_digits').main
    monkeypatch.setattr(sys, 'argv', ['tools/data/export_digits.py'])
    with pytest.raises(SystemExit) as error:
        run_tool(lambda: main(['--data-root', str(tmp_path)]))
    assert error.value.code == 1
    assert capsys.readouterr().err.startswith("export_digits.py: error: '")
