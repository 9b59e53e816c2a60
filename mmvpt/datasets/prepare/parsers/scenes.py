# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Clevr, KITTI, DMLab and Diabetic Retinopathy, with VTAB's label recipes."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from mmvpt.datasets.prepare.images import decode, encode
from mmvpt.datasets.prepare.source import Source
from mmvpt.datasets.prepare.task import Item, Pools, RefusedError, Task, as_published
from mmvpt.datasets.prepare.tfrecord import read_example, records

CLEVR_DEPTHS = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)
KITTI_DISTANCES = (-100.0, 8.0, 20.0, 999.0)
KITTI_VEHICLES = ('Car', 'Van', 'Truck')
RADIUS = 300  # of the eye ball in prepared retina images, in pixels


def above(value: float, thresholds: Sequence[float]) -> int:
    """Return the index of the last threshold below ``value``, from 0; -1 if none is."""
    return max((i for i, t in enumerate(thresholds) if t < value), default=-1)


def clevr_count(objects: Sequence[dict]) -> int:
    """Return the label of Clevr/count: the number of objects, 3 to 10, minus 3."""
    return len(objects) - 3


def clevr_distance(objects: Sequence[dict]) -> int:
    """Return the label of Clevr/distance.

    It is the bin of the smallest depth, the third of an object's pixel coordinates,
    between the thresholds 0, 8, 8.5, 9, 9.5, 10, 100.
    """
    return above(min(o['pixel_coords'][2] for o in objects), CLEVR_DEPTHS)


def parse_clevr(source: Source, task: Task) -> Pools:
    """Read CLEVR_v1.0: ``scenes/CLEVR_*_scenes.json`` and ``images/``."""
    label = {'count': clevr_count, 'distance': clevr_distance}[task.options['label']]
    items: dict[str, list[Item]] = {}
    for part, short in (('train', 'train'), ('validation', 'val')):
        name = f'scenes/CLEVR_{short}_scenes.json'
        root = source.root(name)
        with as_published(f'{root}{name} is not a scene file of Clevr'):
            items[part] = [
                source.item(
                    scene['image_filename'],
                    label(scene['objects']),
                    f'{root}images/{short}/',
                )
                for scene in json.loads(source.text(root + name))['scenes']
            ]
    return Pools(items, 'official CLEVR v1.0 archive')


def kitti_distance(lines: Sequence[str]) -> int:
    """Return the label of KITTI/distance from the lines of a label file.

    It is the bin of the smallest z of the cars, vans and trucks between the thresholds
    -100, 8, 20, 999; without one the label is 3. z is the 14th value of a line.
    """
    depths = [
        float(words[13])
        for words in map(str.split, lines)
        if words and words[0] in KITTI_VEHICLES
    ]
    return above(min([*depths, 1000.0]), KITTI_DISTANCES)


def parse_kitti(source: Source, task: Task) -> Pools:
    """Read KITTI's object detection data: images, labels and the devkit's mapping.

    A tenth of the videos each is validation and test, drawn with numpy's generator and
    seed 123 as TensorFlow Datasets does.
    """
    images = source.root('training/image_2/000000.png')
    labels = source.root('training/label_2/000000.txt')
    parts = _kitti_videos(source)
    items: dict[str, list[Item]] = {}
    for part, numbers in parts.items():
        items[part] = []
        for number in numbers:
            name = f'{labels}training/label_2/{number:06d}.txt'
            with as_published(f'{name} is not a label file'):
                label = kitti_distance(source.text(name).splitlines())
            file = f'{number:06d}.png'
            items[part].append(source.item(file, label, f'{images}training/image_2/'))
    classes = ['below 8 m', '8 to 20 m', 'above 20 m', 'no vehicle']
    return Pools(items, 'official KITTI object archives', classes)


def _kitti_videos(source: Source) -> dict[str, list[int]]:
    """Return part -> image numbers, from ``mapping/train_{rand,mapping}.txt``."""
    root = source.root('mapping/train_rand.txt')
    with as_published(f'{root}mapping of the devkit_object.zip is malformed'):
        lines = source.text(f'{root}mapping/train_mapping.txt').splitlines()
        order = source.text(f'{root}mapping/train_rand.txt').replace('\n', ' ')
        videos = defaultdict(list)
        for number, line in enumerate(order.split(',')):
            videos[lines[int(line) - 1].split()[1]].append(number)
    draw = np.random.RandomState(123)
    count = max(1, len(videos) // 10)
    test = set(draw.choice(sorted(videos), count, replace=False).tolist())
    rest = sorted(videos.keys() - test)
    if len(rest) <= count:
        raise RefusedError(f'KITTI: {len(videos)} videos are too few to split.')
    validation = set(draw.choice(rest, count, replace=False).tolist())
    parts: dict[str, list[int]] = {'train': [], 'validation': [], 'test': []}
    for video, numbers in videos.items():
        part = 'test' if video in test else 'train'
        parts['validation' if video in validation else part].extend(numbers)
    return parts


def parse_dmlab(source: Source, task: Task) -> Pools:
    """Read DMLab: TFRecord files ``dmlab-{train,validation,test}.tfrecord*``."""
    items: dict[str, list[Item]] = {}
    for part in ('train', 'validation', 'test'):
        names = source.matching(f'dmlab-{part}.tfrecord*')
        if not names:
            raise source.refuse(f"'dmlab-{part}.tfrecord*' is missing")
        items[part] = []
        for name in names:
            path = source.file(name)
            for offset, length in records(path, name):
                example = read_example(path, name, offset, length)
                with as_published(f'{name}: a record is incomplete'):
                    key = example['filename'][0].decode()
                    label = int(example['label'][0])
                    example['image'][0]

                def read(path=path, name=name, offset=offset, length=length) -> bytes:
                    return read_example(path, name, offset, length)['image'][0]

                file = f'{key.rsplit(".", 1)[0].replace("/", "_")}.jpg'
                items[part].append(Item(key, file, label, read))
    return Pools(items, 'official DMLab archive')


def parse_retinopathy(source: Source, task: Task) -> Pools:
    """Read Kaggle's Diabetic Retinopathy: ``train/``, ``test/`` and two csv files.

    Validation is the public, test the private half of Kaggle's test images.
    """
    items: dict[str, list[Item]] = {'train': [], 'validation': [], 'test': []}
    halves = {'Public': 'validation', 'Private': 'test'}
    for name, folder in (
        ('trainLabels.csv', 'train'),
        ('retinopathy_solution.csv', 'test'),
    ):
        rows = list(csv.DictReader(io.StringIO(source.text(source.locate(name)))))
        if not rows or not {'image', 'level'} <= rows[0].keys():
            raise RefusedError(f'{name} has no columns image and level.')
        root = source.root(f'{folder}/{rows[0]["image"]}.jpeg')
        for row in rows:
            part = halves.get(row.get('Usage', '')) if folder == 'test' else 'train'
            if part is None or not row['level'].isdigit():
                raise RefusedError(f'{name}: malformed row {dict(row)}.')
            file = f'{root}{folder}/{row["image"]}.jpeg'
            read = _retina(source, file)
            item = Item(row['image'], f'{row["image"]}.jpg', int(row['level']), read)
            items[part].append(item)
    return Pools(items, "Kaggle's Diabetic Retinopathy files")


def _retina(source: Source, name: str) -> Callable[[], bytes]:
    if name not in source:
        raise source.refuse(f'{name!r} is missing')
    return lambda: encode(level_retina(decode(source.read(name), name)), '.jpg', 72)


def level_retina(image: np.ndarray, radius: int = RADIUS) -> np.ndarray:
    """Return a retina image in the form that VTAB calls btgraham-300.

    As the winner of the competition did: scale so that the eye ball has ``radius``
    pixels, subtract the local average colour, blank and cut what lies outside 90 % of
    the radius.

    Args:
        image: The photograph, (H, W, 3) uint8.
        radius: Radius of the eye ball in the result.
    """
    row = image[image.shape[0] // 2].astype(np.int64).sum(axis=1)
    found = (row > row.mean() / 10).sum() / 2
    if found < 1:  # a black row: take half the height for the radius
        found = image.shape[0] / 2
    factor = radius / found
    image = cv2.resize(image, None, fx=factor, fy=factor)
    blurred = cv2.GaussianBlur(image, (0, 0), radius / 30)
    image = cv2.addWeighted(image, 4, blurred, -4, 128)
    height, width = image.shape[:2]
    inner = int(radius * 0.9)
    inside = np.zeros(image.shape)
    cv2.circle(inside, (width // 2, height // 2), inner, (1, 1, 1), -1)
    image = image * inside + (1 - inside) * 128
    top, left = max(height // 2 - inner, 0), max(width // 2 - inner, 0)
    return image[top : height // 2 + inner, left : width // 2 + inner].astype(np.uint8)
