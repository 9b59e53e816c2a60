# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What must be refused is refused by name, and leaves nothing behind."""

import dataclasses
import gzip
import io
import json
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from mmvpt.datasets.prepare import TASKS, RefusedError, check, find_task, prepare
from mmvpt.datasets.prepare.formats import read_norb, read_pickle
from mmvpt.datasets.prepare.tfrecord import parse_example
from tests.datasets.prepare.raw_formats import (
    example,
    mat,
    norb,
    picture,
    put,
    tar,
    zipped,
)
from tests.miniatures import make_fgvc, make_vtab1k

from . import raw

KITTI = TASKS['kitti']
CUB = dataclasses.replace(TASKS['cub'], num_classes=3)


def refuse(task, source, match, out, splits=None, **options):
    """Assert that it is refused and that nothing is left of it."""
    options = {'allow_counts': True, 'quiet': True, **options}
    with pytest.raises(RefusedError, match=match):
        prepare(task, source, out, splits, **options)
    left = [path for path in out.rglob('*') if path.is_file()]
    assert not left and not list(out.rglob('.prepare-*'))


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'out'


@pytest.fixture
def dump(tmp_path):
    make_vtab1k(tmp_path / 'dump', 'kitti', per_class=2)
    return tmp_path / 'dump'


def edit(path, function):
    path.write_text(function(path.read_text()))


def test_corrupted_image(dump, out):
    image = dump / 'kitti/images/train800/00003.jpg'
    image.write_bytes(image.read_bytes()[:-40])
    refuse(KITTI, dump, r'train800/00003.jpg cannot be decoded', out)
    image.write_bytes(b'<html>404</html>')
    refuse(KITTI, dump, r'train800/00003.jpg cannot be decoded', out)


@pytest.mark.parametrize('split', ['val200', 'test'])
def test_duplicate_across_splits(split, dump, out):
    twin = dump / f'kitti/images/{split}/00001.jpg'
    twin.write_bytes((dump / 'kitti/images/train800/00003.jpg').read_bytes())
    match = f'same image is in two splits, .*train800/00003.*{split}/00001.*--allow'
    refuse(KITTI, dump, match, out)
    options = dict(allow_counts=True, allow_duplicates=True, quiet=True)
    _, origin = prepare(KITTI, dump, out, **options)
    assert len(origin['images_in_two_splits']) == 1
    report = check(KITTI, out, allow_counts=True)
    assert report.verdict == 'bad' and 'in two splits' in report.problems[0]


def test_missing_class_and_label_out_of_range(dump, out):
    for name in ('train800', 'val200', 'train800val200', 'test'):
        edit(dump / f'kitti/{name}.txt', lambda text: text.replace(' 3\n', ' 2\n'))
    refuse(KITTI, dump, '1 of 4 classes have no image, such as 3', out)
    edit(dump / 'kitti/test.txt', lambda text: text.replace(' 2\n', ' 7\n'))
    refuse(KITTI, dump, 'label 7 of .* is outside 0..3', out)


def test_lists_of_a_dump(dump, out):
    lists = dump / 'kitti/train800val200.txt'
    whole = lists.read_text()
    edit(lists, lambda text: text.replace(' 0\n', ' 1\n', 1))
    refuse(KITTI, dump, 'does not list the images and labels', out)
    lists.write_text(whole + 'images/nothing.jpg 0\n')
    refuse(KITTI, dump, "'images/nothing.jpg' is missing", out)
    lists.write_text(whole + 'images/x.jpg zero\n')
    refuse(KITTI, dump, "line 15: .* is not 'path label'", out)
    (dump / 'kitti/test.txt').unlink()
    lists.write_text(whole)
    refuse(KITTI, dump, 'test.txt is missing', out)


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        (lambda text: text[:-20], 'is not valid JSON'),
        (lambda text: '[1, 2]', 'is not an object'),
        (lambda text: text.replace(': 2', ': "two"'), 'is not an integer'),
        (lambda text: text.replace(': 2', ': 9'), 'class id 9, which train.json lacks'),
        (lambda text: text.replace('"001.', '"../001.'), 'leaves the image folder'),
        (lambda text: text.replace('"001.', '"none/001.'), 'images are missing'),
    ],
)
def test_wrong_json(change, match, tmp_path, out):
    folder = make_fgvc(tmp_path / 'raw', 'cub', num_classes=3)
    edit(folder / 'test.json', change)
    refuse(CUB, tmp_path / 'raw', match, out)


def test_json_of_another_task(tmp_path, out):
    make_fgvc(tmp_path / 'raw', 'cub', num_classes=3)
    refuse(TASKS['cub'], tmp_path / 'raw', 'has 3 classes, cub has 200', out)
    (tmp_path / 'raw/CUB200/val.json').unlink()
    refuse(CUB, tmp_path / 'raw', "'val.json' is missing", out)


@pytest.mark.parametrize('kind', ['zip', 'tar', 'tar.gz', 'tar.xz'])
@pytest.mark.parametrize('keep', [0.3, 0.97])
def test_truncated_archive(kind, keep, dump, tmp_path, out):
    source = tmp_path / f'kitti.{kind}'
    if kind == 'zip':
        zipped(dump, source)
    else:
        tar(dump, source, {'tar': 'w', 'tar.gz': 'w:gz', 'tar.xz': 'w:xz'}[kind])
    content = source.read_bytes()
    if kind == 'tar':  # the padding at the end may go
        content = content.rstrip(b'\0')
    source.write_bytes(content[: int(len(content) * keep)])
    refuse(KITTI, source, 'truncated', out)


def test_tar_cut_between_two_members(dump, tmp_path, out):
    source = tar(dump, tmp_path / 'kitti.tar', 'w')
    with tarfile.open(source) as archive:
        last = archive.getmembers()[-1]
    source.write_bytes(source.read_bytes()[: last.offset])
    refuse(KITTI, source, 'without the end mark', out)


def test_zip_with_a_wrong_byte(dump, tmp_path, out):
    source = zipped(dump, tmp_path / 'kitti.zip')
    content = bytearray(source.read_bytes())
    content[content.index(b'\xff\xd8') + 300] ^= 1
    source.write_bytes(content)
    refuse(KITTI, source, "member 'kitti/images/.*' is corrupt", out)


@pytest.mark.parametrize('name', ['../evil.jpg', 'a/../../evil.jpg', '/evil.jpg'])
@pytest.mark.parametrize('kind', ['zip', 'tar', 'tar.gz'])
def test_archive_that_climbs_out(kind, name, tmp_path, out):
    source = tmp_path / f'kitti.{kind}'
    if kind == 'zip':
        with zipfile.ZipFile(source, 'w') as archive:
            archive.writestr(name, b'x')
    else:
        with tarfile.open(source, 'w' if kind == 'tar' else 'w:gz') as archive:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    refuse(KITTI, source, 'a path that leaves its folder', out)
    assert not list(tmp_path.rglob('evil*'))


@pytest.mark.parametrize('kind', ['symbolic', 'hard', 'pipe', 'zip'])
def test_links_in_archives(kind, tmp_path, out):
    source = tmp_path / 'kitti.tar'
    if kind == 'zip':
        info = zipfile.ZipInfo('link')
        info.external_attr = 0o120777 << 16
        with zipfile.ZipFile(source, 'w') as archive:
            archive.writestr(info, '/etc/passwd')
    else:
        info = tarfile.TarInfo('link')
        info.linkname = '/etc/passwd'
        info.type = {'symbolic': b'2', 'hard': b'1', 'pipe': b'6'}[kind]
        with tarfile.open(source, 'w') as archive:
            archive.addfile(info)
    refuse(KITTI, source, "holds 'link', which is a", out)


@pytest.mark.parametrize('target', ['file', 'folder'])
def test_links_in_folders(target, dump, tmp_path, out):
    to = dump / 'kitti/test.txt' if target == 'file' else tmp_path
    os.symlink(to, dump / 'kitti/images/link')
    refuse(KITTI, dump, 'images/link is a symbolic link', out)


def test_what_is_not_there_or_no_archive(tmp_path, out):
    refuse(KITTI, tmp_path / 'nothing', 'does not exist', out)
    put(tmp_path / 'a.zip', b'<html>Sign in</html>' * 50)
    refuse(KITTI, tmp_path / 'a.zip', 'neither a zip nor a tar', out)
    put(tmp_path / 'b/NWPU-RESISC45.rar', b'Rar!\x1a\x07\x00')
    refuse(TASKS['resisc45'], tmp_path / 'b', 'rar or 7z .* Unpack it', out)
    put(tmp_path / 'c/other.zip', b'PK')
    match = "train_test_split.txt' is missing in .*not looked into: other.zip"
    refuse(TASKS['cub'], tmp_path / 'c', match, out)


def test_output_is_never_overwritten(dump, out):
    put(out / 'vtab-1k/kitti/notes.txt', 'mine')
    with pytest.raises(RefusedError, match='nothing is overwritten'):
        prepare(KITTI, dump, out, allow_counts=True, quiet=True)
    assert [p.name for p in out.rglob('*') if p.is_file()] == ['notes.txt']
    with pytest.raises(RefusedError, match='lies in the source'):
        prepare(KITTI, dump, dump / 'out', allow_counts=True, quiet=True)


def test_counts_are_expected(dump, out):
    match = 'train800 would have 8 images, expected 800.*--allow-counts'
    refuse(KITTI, dump, match, out, allow_counts=False)


def test_annotations_that_do_not_fit(tmp_path, out):
    task = raw.make('cub', tmp_path / 'cub')
    edit(tmp_path / 'cub/CUB_200_2011/images.txt', lambda t: t.split('\n', 1)[1])
    refuse(task, tmp_path / 'cub', 'images.txt lists 35 images', out)
    raw.clevr(tmp_path / 'clevr')
    scenes = tmp_path / 'clevr/CLEVR_v1.0/scenes/CLEVR_val_scenes.json'
    edit(scenes, lambda text: text.replace('"objects"', '"things"'))
    match = "not a scene file .*'objects'"
    refuse(TASKS['clevr_count'], tmp_path / 'clevr', match, out)
    raw.cars(tmp_path / 'cars')
    mat(tmp_path / 'cars/cars_annos.mat', annotations=[1], class_names=['x'])
    refuse(TASKS['cars'], tmp_path / 'cars', 'not in the published format', out)


def test_maps_that_do_not_fit(tmp_path, out):
    task = raw.make('ade20k', tmp_path / 'raw')
    folder = tmp_path / 'raw/ADEChallengeData2016/annotations/training'
    first = sorted(folder.iterdir())[0]
    good = first.read_bytes()
    first.write_bytes(raw._map([151]))
    refuse(task, tmp_path / 'raw', 'class number 151, at most 150', out)
    first.write_bytes(raw._map([1], (5, 5)))
    refuse(task, tmp_path / 'raw', r'is \(5, 5\), its image is \(16, 12\)', out)
    first.write_bytes(picture(0, suffix='.png'))
    refuse(task, tmp_path / 'raw', 'an image of mode RGB', out)
    first.unlink()
    refuse(task, tmp_path / 'raw', '4 images and 3 maps', out)
    first.write_bytes(good)
    options = dict(allow_counts=True, quiet=True)
    assert prepare(task, tmp_path / 'raw', out, **options)


class Evil:
    def __reduce__(self):
        return os.mkdir, ('evil',)


def test_pickles_cannot_call_anything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in ({b'data': Evil()}, Evil(), {b'data': np.random.default_rng()}):
        with pytest.raises(RefusedError, match='cannot be read safely'):
            read_pickle(pickle.dumps(content), 'train')
    assert not (tmp_path / 'evil').exists()
    with pytest.raises(RefusedError, match='holds a list'):
        read_pickle(pickle.dumps([1]), 'train')
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for protocol in (0, 2, 4):
        content = read_pickle(pickle.dumps({b'data': array}, protocol), 'train')
        np.testing.assert_array_equal(content['data'], array)


def test_norb_matrices():
    array = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    np.testing.assert_array_equal(read_norb(norb(array), 'x'), array)
    np.testing.assert_array_equal(read_norb(norb(array[0, 0]), 'x'), array[0, 0])
    with pytest.raises(RefusedError, match='truncated'):
        read_norb(norb(array)[:-1], 'x')
    with pytest.raises(RefusedError, match='no NORB matrix'):
        read_norb(gzip.compress(norb(array)), 'x')


def test_tfrecord_parts():
    found = parse_example(example(a=[b'x', b'y'], b=[1.5, -2.0], c=[3, -1, 300]), 'r')
    assert found['a'] == [b'x', b'y']
    assert found['b'].tolist() == [1.5, -2.0] and found['c'].tolist() == [3, -1, 300]
    with pytest.raises(RefusedError, match='not a tf.train.Example'):
        parse_example(example(a=[b'long enough'])[:-4], 'r')


def test_task_names():
    with pytest.raises(RefusedError, match="Did you mean 'cifar100'"):
        find_task('cifar10')


def test_origin_names_terms_and_no_path_of_this_machine(dump, out):
    folder, _ = prepare(KITTI, dump, out, allow_counts=True, quiet=True)
    text = (folder / 'origin.json').read_text()
    assert json.loads(text)['terms'] == KITTI.terms
    assert str(dump.parent) not in text
