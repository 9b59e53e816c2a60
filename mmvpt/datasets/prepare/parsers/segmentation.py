# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""ADE20K and Pascal Context in the layouts that mmsegmentation reads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from mmvpt.datasets.image_files import as_png
from mmvpt.datasets.prepare.formats import read_mat
from mmvpt.datasets.prepare.images import load
from mmvpt.datasets.prepare.source import Source
from mmvpt.datasets.prepare.task import Item, Pools, RefusedError, Task

# Numbers of the 59 classes among the 459 (0: none of them), by name.
CONTEXT_59 = (
    0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98,
    104, 105, 113, 115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284,
    295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424,
    427, 440, 445, 454, 458,
)  # fmt: skip
IMAGE, LABELS = 0, 1  # Item.label tells an image from its map


def parse_ade(source: Source, task: Task) -> Pools:
    """Read ADEChallengeData2016: maps hold 0 for 'other' and 1..150."""
    root = source.root('images/training/*.jpg', several=True)
    items: dict[str, list[Item]] = {}
    for part, folder in (('train', 'training'), ('val', 'validation')):
        names = source.matching(f'images/{folder}/*.jpg')
        names = [n for n in names if n.startswith(f'{root}images/{folder}/')]
        stems = [name.rsplit('/', 1)[1][:-4] for name in names]
        place = f'annotations/{folder}'
        maps = set(source.below(f'{root}{place}/'))
        unlabelled = [s for s in stems if f'{root}{place}/{s}.png' not in maps]
        if unlabelled or not stems or len(maps) != len(stems):
            raise source.refuse(
                f'{task.name}: {folder} has {len(stems)} images and {len(maps)} maps, '
                f'which do not go together ({(unlabelled or ["-"])[0]}),'
            )
        items[part] = []
        for stem in stems:
            image, labels = f'images/{folder}/{stem}.jpg', f'{place}/{stem}.png'
            items[part] += _pair(source, stem, root, image, labels, task)
    return Pools(items, 'official ADEChallengeData2016 archive')


def parse_context(source: Source, task: Task) -> Pools:
    """Read Pascal Context: VOC2010's images, and maps in one of two forms.

    Either ``trainval/*.mat`` as published, with 459 classes, of which 59 are kept; or
    ``SegmentationClassContext/*.png`` as mmsegmentation's converter writes them. The
    splits are VOC2010's ``ImageSets/Main/{train,val}.txt``, or those of the converter.
    """
    converted = source.has('SegmentationClassContext/*.png')
    lists = 'ImageSets/' + ('SegmentationContext' if converted else 'Main')
    root = source.root(f'{lists}/train.txt')
    items: dict[str, list[Item]] = {}
    mats = '' if converted else source.root('trainval/*.mat', several=True)
    for part in ('train', 'val'):
        items[part] = []
        for line in source.text(f'{root}{lists}/{part}.txt').splitlines():
            if not line.strip():
                continue
            stem = line.split()[0]
            image = f'JPEGImages/{stem}.jpg'
            labels = f'SegmentationClassContext/{stem}.png'
            raw = None if converted else f'{mats}trainval/{stem}.mat'
            items[part] += _pair(source, stem, root, image, labels, task, raw)
    kind = 'converted by mmsegmentation' if converted else 'official'
    return Pools(items, f'{kind} Pascal Context with VOC2010')


def _pair(
    source: Source,
    stem: str,
    root: str,
    image: str,
    labels: str,
    task: Task,
    raw: str | None = None,
) -> list[Item]:
    """Return an image and its map; ``raw`` is the map's file if it is a .mat file."""
    if raw is not None and raw not in source:
        raise source.refuse(f'{raw!r} is missing')
    read_image = source.reader(root + image)
    read_map = source.reader(root + labels) if raw is None else _context(source, raw)

    def checked() -> bytes:
        content = read_map()
        check_map(content, read_image(), labels, task.options['highest'])
        return content

    return [Item(stem, image, IMAGE, read_image), Item(stem, labels, LABELS, checked)]


def check_map(labels: bytes, image: bytes, where: str, highest: int) -> None:
    """Raise RefusedError if a map has not its image's size, or labels out of range."""
    picture = load(labels, where)
    size = load(image, where).size
    if picture.mode not in ('L', 'P', '1'):
        raise RefusedError(
            f'{where} is no map of class numbers but an image of mode {picture.mode}.'
        )
    if picture.size != size:
        raise RefusedError(f'{where} is {picture.size}, its image is {size}.')
    values = np.unique(np.asarray(picture, dtype=np.uint8))
    values = values[values != 255]
    if len(values) and values[-1] > highest:
        raise RefusedError(
            f'{where} holds class number {values[-1]}, at most {highest} is allowed.'
        )


def _context(source: Source, name: str) -> Callable[[], bytes]:
    def read() -> bytes:
        (labels,) = read_mat(source, name, 'LabelMap')
        if labels.ndim != 2 or labels.min() < 0 or labels.max() > 459:
            raise RefusedError(f'{name}: LabelMap is no map of the 459 classes.')
        return as_png(Image.fromarray(context_59(labels)))

    return read


def context_59(labels: np.ndarray) -> np.ndarray:
    """Map the 459 classes of Pascal Context, (H, W), to 0 (background) and 1..59."""
    table: np.ndarray = np.zeros(460, dtype=np.uint8)
    table[list(CONTEXT_59)] = np.arange(60)
    return table[labels]
