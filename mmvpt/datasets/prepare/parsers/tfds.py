# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Folders that TensorFlow Datasets wrote, read without TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from PIL import Image

from mmvpt.datasets.image_files import as_png
from mmvpt.datasets.prepare.images import load, png
from mmvpt.datasets.prepare.source import Source
from mmvpt.datasets.prepare.task import Item, Pools, RefusedError, Task, as_published
from mmvpt.datasets.prepare.tfrecord import Features, read_example, records

from .arrays import latent_bins
from .scenes import CLEVR_DEPTHS, KITTI_DISTANCES, above

FILE = re.compile(r'(?:.*/)?(\w+)-(train|validation|test)\.tfrecord-(\d+)-of-(\d+)')
# KITTI's classes begin with Car, Van, Truck.
LABELS: dict[str, Callable[[Features], int]] = {
    'clevr_count': lambda f: len(f['objects/size']) - 3,
    'clevr_dist': lambda f: above(f['objects/pixel_coords'][2::3].min(), CLEVR_DEPTHS),
    'kitti': lambda f: above(
        min([*f['objects/location'][2::3][f['objects/type'] < 3], 1000.0]),
        KITTI_DISTANCES,
    ),
    'dsprites_loc': lambda f: int(latent_bins(f['label_x_position'], 32)[0]),
    'dsprites_ori': lambda f: int(latent_bins(f['label_orientation'], 40)[0]),
    'smallnorb_azi': lambda f: int(f['label_azimuth'][0]),
    'smallnorb_ele': lambda f: int(f['label_elevation'][0]),
}


def _files(task: Task, source: Source) -> dict[str, dict[int, tuple[str, int]]]:
    """Return part -> shard number -> (file, number of shards)."""
    wanted = task.tfds or task.name
    found: dict[str, dict[int, tuple[str, int]]] = {}
    for name in source.names:
        match = FILE.fullmatch(name)
        if match and match[1] == wanted:
            shards = found.setdefault(match[2], {})
            if int(match[3]) in shards:
                raise RefusedError(
                    f'{name!r} and {shards[int(match[3])][0]!r} are the same part of '
                    f'{wanted}. Point --source to the folder of one version.'
                )
            shards[int(match[3])] = (name, int(match[4]))
    return found


def is_tfds(task: Task, source: Source) -> bool:
    """Tell whether the source holds TFRecord files of the task's data set."""
    return bool(_files(task, source))


def parse_tfds(task: Task, source: Source) -> Pools:
    """Read the records of a folder that TensorFlow Datasets wrote, in stored order."""
    items: dict[str, list[Item]] = {}
    for part, shards in _files(task, source).items():
        total = next(iter(shards.values()))[1]
        missing = sorted(set(range(total)) - set(shards))
        if missing:
            raise source.refuse(
                f'{task.name}: file {missing[0]} of the {total} of {part!r} is missing'
            )
        items[part] = []
        for shard in range(total):
            name = shards[shard][0]
            path = source.file(name)
            for offset, length in records(path, name):
                number = len(items[part])
                features = read_example(path, name, offset, length)
                items[part].append(
                    _item(task, part, number, features, path, name, offset, length)
                )
    return Pools(
        items,
        kind='folder of TensorFlow Datasets',
        stored=True,
        official=True,
        split_note='the stored order of TensorFlow Datasets',
    )


def _item(task, part, number, features, path, name, offset, length) -> Item:
    where = f'{name}, record {number}'
    problem, remedy = f'{where} lacks what {task.name} needs', 'Is it another version?'
    with as_published(problem, remedy=remedy):
        label = int(LABELS.get(task.name, lambda f: f['label'][0])(features))
        image = features['image'][0]
    suffix = '.png' if image.startswith(b'\x89PNG') else '.jpg'

    def read() -> bytes:
        content = read_example(path, name, offset, length)['image'][0]
        return _colour(content, where, 255 if 'latent' in task.options else 1)

    return Item(f'{part}_{number}', f'{part}_{number:06d}{suffix}', label, read)


def _colour(content: bytes, where: str, scale: int) -> bytes:
    """Return the image file; a grey one as three channels, times ``scale``."""
    image: Image.Image = load(content, where)
    if image.mode in ('RGB', 'YCbCr') and scale == 1:
        return content
    if image.mode in ('1', 'L'):
        return png(np.asarray(image).astype(np.uint8) * scale)
    return as_png(image.convert('RGB'))
