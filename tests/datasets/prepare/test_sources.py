# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Kinds of sources: dump, json lists, TFDS folders, archives; resuming; equality."""

import dataclasses
import hashlib
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmvpt.datasets import FGVC
from mmvpt.datasets.prepare import TASKS, RefusedError, check, prepare
from mmvpt.datasets.prepare import writer as writer_module
from tests.datasets.prepare.raw_formats import (
    example,
    picture,
    put,
    tar,
    tfrecord,
    zipped,
)
from tests.miniatures import make_fgvc, make_vtab1k

from . import raw

FEW = dict(allow_counts=True, quiet=True)


def content(folder):
    """Return path -> digest of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def mini(name, **changes):
    return dataclasses.replace(TASKS[name], **changes)


@pytest.mark.parametrize('packed', [False, 'zip', 'tar.gz', 'tar'])
def test_dump(packed, tmp_path):
    make_vtab1k(tmp_path / 'dump', 'kitti', per_class=2)
    source = tmp_path / 'dump'
    if packed == 'zip':
        source = zipped(tmp_path / 'dump', tmp_path / 'kitti.zip')
    elif packed:
        mode = 'w:gz' if packed == 'tar.gz' else 'w'
        source = tar(tmp_path / 'dump', tmp_path / f'dump.{packed}', mode)
    before = content(tmp_path / 'dump')
    folder, origin = prepare(TASKS['kitti'], source, tmp_path / 'out', **FEW)
    assert origin['official_split']
    assert content(tmp_path / 'dump') == before
    assert check(TASKS['kitti'], tmp_path / 'out', allow_counts=True).verdict == 'ok'
    old = (tmp_path / 'dump/kitti/train800.txt').read_text().splitlines()
    new = (folder / 'train800.txt').read_text().splitlines()
    for a, b in zip(old, new):
        assert a.split()[1] == b.split()[1]
        image = tmp_path / 'dump/kitti' / a.split()[0]
        assert image.read_bytes() == (folder / b.split()[0]).read_bytes()


def test_dump_with_only_the_union(tmp_path):
    folder = make_vtab1k(tmp_path / 'dump', 'kitti')
    for name in ('train800', 'val200'):
        (folder / f'{name}.txt').unlink()
    with pytest.raises(RefusedError, match='expected 800'):
        prepare(TASKS['kitti'], folder, tmp_path / 'out', quiet=True)
    with pytest.raises(RefusedError, match='of no use here'):
        prepare(TASKS['kitti'], folder, tmp_path / 'out', folder / 'test.txt', **FEW)


@pytest.mark.parametrize('beside', [False, True])
@pytest.mark.parametrize('name', FGVC.TASKS)
def test_json_splits_of_vpt(name, beside, tmp_path):
    task = mini(name, num_classes=3)
    folder = make_fgvc(tmp_path / 'raw', name, num_classes=3, per_class=2)
    splits = None
    if beside:
        splits = tmp_path / 'splits'
        splits.mkdir()
        for path in folder.glob('*.json'):
            shutil.move(path, splits / path.name)
    out, origin = prepare(task, tmp_path / 'raw', tmp_path / 'out', splits, **FEW)
    assert origin['split'] == "VPT's json files"
    assert check(task, tmp_path / 'out', allow_counts=True).official
    published = json.loads(((splits or folder) / 'val.json').read_text())
    written = json.loads((out / 'val.json').read_text())
    assert list(written) == list(published)
    assert [label + 1 for label in written.values()] == list(published.values())
    images = folder / FGVC.TASKS[name].image_dirs[0]
    data = FGVC(name, 'val', tmp_path / 'out/fgvc', num_classes=3)
    assert len(data) == len(published)
    for item, (path, class_id) in zip(data, published.items()):
        assert Path(item['img_path']).read_bytes() == (images / path).read_bytes()
        assert item['gt_label'] == class_id - 1


def context_converted(root):
    """Write VOC2010 with Pascal Context as mmsegmentation's converter leaves it."""
    base = root / 'VOCdevkit/VOC2010'
    for j, part in enumerate(('train', 'val')):
        stems = [f'2008_{10 * j + i:06d}' for i in range(3)]
        put(base / f'ImageSets/Main/{part}.txt', 'not_read\n')
        listed = ''.join(f'{stem}\n' for stem in stems)
        put(base / f'ImageSets/SegmentationContext/{part}.txt', listed)
        for i, stem in enumerate(stems):
            put(base / f'JPEGImages/{stem}.jpg', picture(10 * j + i))
            # what raw.context's maps become, see there
            labels = np.resize(np.array([0, 1, 59, 0], np.uint8), (12, 16))
            image = cv2.imencode('.png', labels)[1].tobytes()
            put(base / f'SegmentationClassContext/{stem}.png', image)
    return base / 'SegmentationClassContext/2008_000001.png'


@pytest.mark.parametrize('inside', ['.', 'VOCdevkit/VOC2010'])
def test_pascal_context_as_converted(inside, tmp_path):
    task = raw.make('pascal_context', tmp_path / 'raw')
    official, _ = prepare(task, tmp_path / 'raw', tmp_path / 'a', **FEW)
    context_converted(tmp_path / 'converted')
    source = tmp_path / 'converted' / inside
    folder, origin = prepare(task, source, tmp_path / 'b', **FEW)

    assert origin['source'].startswith('converted by mmsegmentation')
    assert origin['counts'] == {'train': 3, 'val': 3}
    assert check(task, tmp_path / 'b', allow_counts=True).verdict == 'ok'
    names = {path.relative_to(official) for path in official.rglob('*.*')}
    assert names == {path.relative_to(folder) for path in folder.rglob('*.*')}
    for name in names:
        if name.suffix == '.png':
            first, second = (
                cv2.imread(str(root / name), cv2.IMREAD_UNCHANGED)
                for root in (official, folder)
            )
            np.testing.assert_array_equal(first, second)
        elif name.suffix in ('.jpg', '.txt'):
            assert (official / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        (np.full((12, 16), 60, np.uint8), 'holds class number 60, at most 59'),
        (np.zeros((16, 12), np.uint8), r'is \(12, 16\), its image is \(16, 12\)'),
        (np.zeros((12, 16, 3), np.uint8), 'no map of class numbers'),
        (None, 'is missing'),
    ],
)
def test_pascal_context_with_a_wrong_map(labels, message, tmp_path):
    path = context_converted(tmp_path / 'raw')
    if labels is None:
        path.unlink()
    else:
        put(path, cv2.imencode('.png', labels)[1].tobytes())
    with pytest.raises(RefusedError, match=message):
        prepare(TASKS['pascal_context'], tmp_path / 'raw', tmp_path / 'out', **FEW)
    assert not [path for path in (tmp_path / 'out').rglob('*') if path.is_file()]


def test_without_json_a_tenth_is_held_out_and_said_to_be(tmp_path):
    task = raw.make('cub', tmp_path / 'raw')
    _, origin = prepare(task, tmp_path / 'raw', tmp_path / 'out', **FEW)
    assert origin['counts'] == {'train': 21, 'val': 3, 'test': 12}
    assert not origin['official_split']
    assert origin['split'].startswith('NOT the official split')
    report = check(task, tmp_path / 'out', allow_counts=True)
    assert report.official is False
    assert report.notes[0].startswith('NOT the official split')


def test_published_vtab_lists(tmp_path):
    task = mini('oxford_flowers102', num_classes=3)
    raw.flowers(tmp_path / 'raw')
    _, rebuilt = prepare(task, tmp_path / 'raw', tmp_path / 'a', **FEW)
    folder = tmp_path / 'a' / task.folder
    lists = {
        name: [line.split()[0].rsplit('/', 1)[1] for line in lines]
        for name, lines in (
            ('train', (folder / 'train800.txt').read_text().splitlines()[:5]),
            ('val', (folder / 'val200.txt').read_text().splitlines()),
        )
    }
    put(tmp_path / 'lists.json', json.dumps({'oxford_flowers102': lists}))
    args = (task, tmp_path / 'raw', tmp_path / 'b', tmp_path / 'lists.json')
    other, origin = prepare(*args, **FEW)
    assert origin['counts'] == {**rebuilt['counts'], 'train800': 5}
    assert (other / 'val200.txt').read_text() == (folder / 'val200.txt').read_text()
    put(tmp_path / 'lists.json', json.dumps({'oxford_flowers102': dict(train=['x'])}))
    with pytest.raises(RefusedError, match='no lists for oxford_flowers102'):
        prepare(task, tmp_path / 'raw', tmp_path / 'c', tmp_path / 'lists.json', **FEW)


def test_sun_without_lists_is_not_official(tmp_path):
    raw.sun(tmp_path / 'raw', lists=False)
    with pytest.raises(RefusedError, match='val200 would have 119 images'):
        prepare(TASKS['sun397'], tmp_path / 'raw', tmp_path, quiet=True)
    folder, origin = prepare(TASKS['sun397'], tmp_path / 'raw', tmp_path, **FEW)
    assert not origin['official_split'] and '70, 10 and 20 %' in origin['split']
    large = next(folder.glob('images/*/a/abbey/sun_002.jpg'), None)
    assert large is None or cv2.imread(str(large)).size <= 3 * 120_500


def sprites_tfds(root, count=40):
    for k in range(2):
        messages = []
        for i in range(k * count // 2, (k + 1) * count // 2):
            pixels = np.random.default_rng(i).integers(0, 2, (8, 8), dtype=np.uint8)
            image = cv2.imencode('.png', pixels)[1].tobytes()
            messages.append(example(image=[image], label_x_position=[i % 32]))
        name = f'dsprites/2.0.0/dsprites-train.tfrecord-0000{k}-of-00002'
        tfrecord(root / name, messages)


def test_tfds_folder(tmp_path):
    sprites_tfds(tmp_path / 'tfds')
    task = TASKS['dsprites_loc']
    folder, origin = prepare(task, tmp_path / 'tfds', tmp_path / 'out', **FEW)
    assert origin['counts'] == {'train800': 32, 'val200': 4, 'test': 4}
    lines = (folder / 'train800.txt').read_text().splitlines()
    assert [int(line.split()[1]) for line in lines] == [i // 2 for i in range(32)]
    image = cv2.imread(str(folder / lines[0].split()[0]), cv2.IMREAD_UNCHANGED)
    expected = np.random.default_rng(0).integers(0, 2, (8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(image, np.repeat(expected[..., None] * 255, 3, 2))


@pytest.mark.parametrize(
    ('name', 'features', 'label'),
    [
        ('clevr_count', {'objects/size': [1, 0, 1, 1]}, 1),
        ('clevr_dist', {'objects/pixel_coords': [1.0, 1.0, 9.2, 5.0, 5.0, 8.4]}, 1),
        (
            'kitti',
            {'objects/type': [3, 1], 'objects/location': [0.0, 0, 1, 0, 0, 9]},
            1,
        ),
        ('kitti', {'objects/type': [3], 'objects/location': [0.0, 0, 1]}, 3),
        ('dtd', {'label': [46]}, 46),
    ],
)
def test_tfds_labels(name, features, label, tmp_path):
    from mmvpt.datasets.prepare.run import parse
    from mmvpt.datasets.prepare.source import Source

    path = tmp_path / f'{TASKS[name].tfds or name}-train.tfrecord-00000-of-00001'
    tfrecord(path, [example(image=[picture(0)], **features)])
    (item,) = parse(TASKS[name], Source(tmp_path)).items['train']
    assert (item.label, item.read()) == (label, picture(0))


def test_tfds_shard_missing_or_cut(tmp_path):
    sprites_tfds(tmp_path)
    first, second = sorted(tmp_path.rglob('*.tfrecord*'))
    whole = second.read_bytes()
    second.write_bytes(whole[:-3])
    with pytest.raises(RefusedError, match='truncated'):
        prepare(TASKS['dsprites_loc'], tmp_path, tmp_path.parent / 'o1', **FEW)
    second.unlink()
    with pytest.raises(RefusedError, match='file 1 of the 2'):
        prepare(TASKS['dsprites_loc'], tmp_path, tmp_path.parent / 'o1', **FEW)


def test_archives_give_what_folders_give(tmp_path):
    """The published archives, one within another, one a tar called tar.gz."""
    task = mini('caltech101', options={'per_class': 2})
    raw.caltech(tmp_path / 'caltech')
    inner = tmp_path / 'box/caltech-101/101_ObjectCategories.tar.gz'
    inner.parent.mkdir(parents=True)
    tar(tmp_path / 'caltech', inner)
    outer = zipped(tmp_path / 'box', tmp_path / 'downloads.zip')
    (tmp_path / 'downloads').mkdir()
    outer.rename(tmp_path / 'downloads/caltech-101.zip')
    a, _ = prepare(task, tmp_path / 'caltech', tmp_path / 'a', **FEW)
    b, _ = prepare(task, tmp_path / 'downloads', tmp_path / 'b', **FEW)
    c, _ = prepare(task, tmp_path / 'downloads/caltech-101.zip', tmp_path / 'c', **FEW)
    assert content(a) == content(b) == content(c)

    raw.dtd(tmp_path / 'dtd')
    tar(tmp_path / 'dtd', tmp_path / 'dtd-r1.0.1.tar.gz', 'w')
    source = tmp_path / 'dtd-r1.0.1.tar.gz'
    folder, _ = prepare(TASKS['dtd'], source, tmp_path / 'd', **FEW)
    assert len(content(folder / 'images')) == 3 * 47


SOME = ('cifar100', 'retinopathy', 'pascal_context', 'dogs')


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=() if name in SOME else pytest.mark.sweep)
        for name in TASKS
    ],
)
def test_twice_the_same_bytes(name, tmp_path):
    task = raw.make(name, tmp_path / 'raw')
    folders = []
    for run in ('a', 'b'):
        shutil.copytree(tmp_path / 'raw', tmp_path / run / 'somewhere')
        source = tmp_path / run / 'somewhere'
        folders.append(prepare(task, source, tmp_path / run / 'out', **FEW)[0])
    assert content(folders[0]) == content(folders[1])


def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    task = raw.make('dogs', tmp_path / 'raw')
    whole, _ = prepare(task, tmp_path / 'raw', tmp_path / 'whole', **FEW)
    saved = []
    save = writer_module.write_whole

    def stop_after_five(path, data, durable=True):
        if len(saved) == 5:
            raise KeyboardInterrupt
        saved.append(path)
        save(path, data, durable)

    with monkeypatch.context() as patch:
        patch.setattr(writer_module, 'write_whole', stop_after_five)
        with pytest.raises(KeyboardInterrupt):
            prepare(task, tmp_path / 'raw', tmp_path / 'out', **FEW)
    assert not (tmp_path / 'out' / task.folder).exists()
    times = {path: path.stat().st_mtime_ns for path in saved}
    assert all('.prepare-DOGS120' in str(path) for path in saved)

    # What an earlier version left half-way is not taken for a result.
    put(saved[0].with_name('stray.jpg.part'), b'half')
    folder, _ = prepare(task, tmp_path / 'raw', tmp_path / 'out', **FEW)
    assert content(folder) == content(whole)
    for path, time in times.items():
        name = str(path).replace('.prepare-DOGS120/result', 'DOGS120')
        assert (folder / name).stat().st_mtime_ns == time


def test_another_source_starts_over(tmp_path, monkeypatch):
    task = raw.make('dogs', tmp_path / 'raw')
    (tmp_path / 'out/fgvc/.prepare-DOGS120/result/Images').mkdir(parents=True)
    put(tmp_path / 'out/fgvc/.prepare-DOGS120/source', 'of something else')
    put(tmp_path / 'out/fgvc/.prepare-DOGS120/result/Images/x.jpg', b'other')
    folder, _ = prepare(task, tmp_path / 'raw', tmp_path / 'out', **FEW)
    assert not (folder / 'Images/x.jpg').exists()


def test_hdf5_without_h5py(tmp_path, monkeypatch):
    task = raw.make('patch_camelyon', tmp_path / 'raw')
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with pytest.raises(ImportError, match='pip install h5py'):
        prepare(task, tmp_path / 'raw', tmp_path / 'out', **FEW)
    assert not list((tmp_path / 'out').rglob('*.png'))
