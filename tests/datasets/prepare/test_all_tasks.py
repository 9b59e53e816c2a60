# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Each of the 26 tasks: raw miniature, prepare, check, an item of the dataset."""

import json

import pytest
from mmseg.datasets import ADE20KDataset, PascalContextDataset

from mmvpt.datasets import FGVC, VTAB1k
from mmvpt.datasets.prepare import TASKS, check, prepare
from tests.datasets.prepare.raw import make

LOAD = [dict(type='LoadImageFromFile')]


def load(task, out):
    """Return the length of each split as the dataset class reads it."""
    lengths = {}
    if task.layout == 'vtab-1k':
        for split in VTAB1k.SPLITS:
            data = VTAB1k(task.name, split, out / 'vtab-1k', pipeline=LOAD)
            lengths[split] = len(data)
            assert data[0]['img'].ndim == 3
    elif task.layout == 'fgvc':
        for split in ('train', 'val', 'test'):
            data = FGVC(
                task.name,
                split,
                out / 'fgvc',
                num_classes=task.num_classes,
                pipeline=LOAD,
            )
            lengths[split] = len(data)
            assert data[0]['img'].ndim == 3
    return lengths


def segmentation(task, out):
    lengths = {}
    pipeline = [*LOAD, dict(type='mmseg.LoadAnnotations')]
    for split in ('train', 'val'):
        if task.name == 'ade20k':
            name = dict(train='training', val='validation')[split]
            data = ADE20KDataset(
                data_root=str(out / task.folder),
                data_prefix=dict(
                    img_path=f'images/{name}', seg_map_path=f'annotations/{name}'
                ),
                pipeline=pipeline,
            )
        else:
            data = PascalContextDataset(
                data_root=str(out / task.folder),
                ann_file=f'ImageSets/SegmentationContext/{split}.txt',
                data_prefix=dict(
                    img_path='JPEGImages', seg_map_path='SegmentationClassContext'
                ),
                pipeline=pipeline,
            )
        lengths[split] = len(data)
        item = data[0]
        assert item['img'].shape[:2] == item['gt_seg_map'].shape
    return lengths


@pytest.mark.parametrize('name', TASKS)
def test_raw_to_item(name, tmp_path):
    task = make(name, tmp_path / 'raw')
    folder, origin = prepare(
        task, tmp_path / 'raw', tmp_path, allow_counts=True, quiet=True
    )

    assert folder == tmp_path / task.folder
    report = check(task, tmp_path, allow_counts=True)
    assert report.verdict == 'ok', (report.problems, report.notes)
    assert report.classes == (0 if task.layout == 'segmentation' else task.num_classes)
    assert report.official == origin['official_split']
    assert not list(folder.parent.glob('.prepare-*'))

    reader = segmentation if task.layout == 'segmentation' else load
    lengths = reader(task, tmp_path)
    counts = dict(origin['counts'])
    if task.layout == 'vtab-1k':
        counts['train800val200'] = counts['train800'] + counts['val200']
    assert lengths == counts
    assert json.loads((folder / 'origin.json').read_text()) == origin


def test_a_real_run_says_that_counts_differ(tmp_path):
    task = make('dtd', tmp_path / 'raw')
    prepare(task, tmp_path / 'raw', tmp_path, allow_counts=True, quiet=True)
    report = check(task, tmp_path)
    assert report.verdict == 'counts differ'
    assert 'train800 has 47 images, expected 800' in report.notes
