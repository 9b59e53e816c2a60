# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Photographs in folders of classes: Caltech101, DTD, Pets, SUN397, EuroSAT, Resisc45.

A key is what TensorFlow Datasets calls the record, since its order follows from it.
"""

from __future__ import annotations

import os
import random
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from mmvpt.datasets.prepare.images import SUFFIXES, decode, encode
from mmvpt.datasets.prepare.selection import hash_order
from mmvpt.datasets.prepare.source import Source
from mmvpt.datasets.prepare.task import Item, Pools, RefusedError, Task

SUN_PIXELS = 120_000
SUN_IGNORED = '/c/church/outdoor/sun_bhenjvsvrtumjuri.jpg'  # cannot be decoded
CALTECH_TRAIN = 30  # per class


def class_folders(source: Source, task: Task, prefix: str) -> dict[str, list[str]]:
    """Return class -> its image files, sorted, for the folders below ``prefix``."""
    found: dict[str, list[str]] = {}
    for name in source.below(prefix):
        parts = PurePosixPath(name[len(prefix) :]).parts
        if len(parts) == 2 and parts[1].lower().endswith(SUFFIXES):
            found.setdefault(parts[0], []).append(name)
    known = task.options.get('classes')
    if known:
        missing = [folder for folder in known if folder not in found]
        if missing:
            raise source.refuse(
                f'{task.name}: class folder {missing[0]!r} is missing or empty '
                f'({len(missing)} of {len(known)})'
            )
        found = {folder: found[folder] for folder in known}
    if len(found) != task.num_classes:
        raise source.refuse(
            f'{task.name}: {len(found)} class folders with images below '
            f'{prefix or "the source"!r}, expected {task.num_classes},'
        )
    return {folder: sorted(found[folder]) for folder in sorted(found, key=str.lower)}


def _parent_of_classes(source: Source, task: Task) -> str:
    """Return the folder that holds a known class folder."""
    known = task.options['classes'][0]
    found = {name[: name.index(f'{known}/')] for name in source.matching(f'{known}/*')}
    if len(found) != 1:
        raise source.refuse(f'{task.name}: one folder {known!r} is expected, {found}')
    return found.pop()


def parse_class_folders(source: Source, task: Task) -> Pools:
    """Read EuroSAT or Resisc45: one folder per class, no published split."""
    prefix = _parent_of_classes(source, task)
    folders = class_folders(source, task, prefix)
    items = [
        Item(
            f'{folder}_{PurePosixPath(name).name}',
            f'{folder}/{PurePosixPath(name).name}',
            label,
            source.reader(name),
        )
        for label, (folder, names) in enumerate(folders.items())
        for name in names
    ]
    return Pools({'train': items}, f'official {task.name} archive', list(folders))


def parse_caltech(source: Source, task: Task) -> Pools:
    """Read Caltech101: 30 random images per class are train, the rest is test.

    TensorFlow Datasets draws them in the order in which the file system lists them, so
    its draw cannot be repeated.
    """
    prefix = source.root('accordion/image_0001.jpg')
    folders = class_folders(source, task, prefix)
    per_class = task.options.get('per_class', CALTECH_TRAIN)
    items: dict[str, list[Item]] = {'train': [], 'test': []}
    for label, (folder, names) in enumerate(folders.items()):
        if len(names) <= per_class:
            raise RefusedError(
                f'caltech101: {folder!r} has {len(names)} images, more than '
                f'{per_class} are needed. Complete the source.'
            )
        drawn = set(random.Random(f'1234 {folder}').sample(names, per_class))
        for name in names:
            part = 'train' if name in drawn else 'test'
            key = f'{folder}/{PurePosixPath(name).name}'
            items[part].append(Item(key, key, label, source.reader(name)))
    return Pools(items, 'official Caltech101 archive', list(folders))


def parse_dtd(source: Source, task: Task) -> Pools:
    """Read DTD: ``labels/{train,val,test}1.txt`` (its first split) and ``images/``."""
    root = source.root('labels/train1.txt')
    listed = {
        part: source.text(f'{root}labels/{file}1.txt').split()
        for part, file in (('train', 'train'), ('validation', 'val'), ('test', 'test'))
    }
    classes = sorted({path.split('/')[0] for path in sum(listed.values(), [])})
    items = {
        part: [
            source.item(path, classes.index(path.split('/')[0]), f'{root}images/')
            for path in paths
        ]
        for part, paths in listed.items()
    }
    return Pools(items, 'official DTD archive', classes)


def parse_pets(source: Source, task: Task) -> Pools:
    """Read Oxford-IIIT Pet: ``annotations/{trainval,test}.txt`` and ``images/``."""
    root = source.root('annotations/trainval.txt')
    items: dict[str, list[Item]] = {}
    classes: dict[int, str] = {}
    images = None
    for part, file in (('train', 'trainval'), ('test', 'test')):
        items[part] = []
        for line in source.text(f'{root}annotations/{file}.txt').splitlines():
            words = line.split()
            if not words or words[0].startswith('#'):
                continue
            if len(words) != 4 or not words[1].isdigit():
                raise RefusedError(f'{file}.txt: {line!r} is not a line of Pets.')
            key, label = f'{words[0]}.jpg', int(words[1]) - 1
            if images is None:
                images = source.root(f'images/{key}')
            items[part].append(source.item(key, label, f'{images}images/'))
            classes[label] = words[0].rsplit('_', 1)[0]
    names = [classes[label] for label in sorted(classes)]
    return Pools(items, 'official Oxford-IIIT Pet archives', names)


def parse_sun(source: Source, task: Task) -> Pools:
    """Read SUN397: ``SUN397/a/abbey/sun_*.jpg`` and, if given, the lists of TFDS.

    Images are shrunk to 120,000 pixels and stored as JPEG, as TensorFlow Datasets does.
    Its lists ``sun397_tfds_{tr,va,te}.txt`` come with its source code; without them a
    draw of 70, 10 and 20 % of the images takes their place.
    """
    found = source.matching('a/abbey/*.jpg')
    if not found:
        raise source.refuse("'a/abbey/*.jpg' of SUN397 is missing")
    prefix = found[0][: found[0].index('a/abbey/')]
    keys = {}
    for name in source.below(prefix):
        key = '/' + name[len(prefix) :]
        if key.endswith('.jpg') and key != SUN_IGNORED and key.count('/') >= 3:
            keys[key] = name
    classes = sorted({key.rpartition('/')[0] for key in keys})
    if len(classes) != task.num_classes:
        raise source.refuse(
            f'sun397: {len(classes)} classes, expected {task.num_classes},'
        )
    lists = _sun_lists(source)
    official = lists is not None
    if lists is None:
        order = sorted(keys, key=lambda key: hash_order('mmvpt-sun397', key))
        a, b = len(order) * 7 // 10, len(order) * 8 // 10
        lists = {'train': order[:a], 'validation': order[a:b], 'test': order[b:]}
    labels = {name: label for label, name in enumerate(classes)}
    items: dict[str, list[Item]] = {}
    for part, listed in lists.items():
        missing = [key for key in listed if key not in keys]
        if missing:
            raise source.refuse(f'sun397: {missing[0]!r} of {part} is missing')
        items[part] = [
            Item(key, key[1:], labels[os.path.dirname(key)], _shrunk(source, keys[key]))
            for key in listed
        ]
    note = (
        'train, validation and test by the lists of TensorFlow Datasets'
        if official
        else 'a draw of 70, 10 and 20 % by a hash of the file name; for the published '
        'one give sun397_tfds_{tr,va,te}.txt of TensorFlow Datasets (--splits)'
    )
    return Pools(
        items, 'official SUN397 archive', classes, official=official, split_note=note
    )


def _sun_lists(source: Source) -> dict[str, list[str]] | None:
    files = {'train': 'tr', 'validation': 'va', 'test': 'te'}
    lists = {}
    for part, short in files.items():
        name = f'sun397_tfds_{short}.txt'
        if source.splits is not None and source.splits.is_dir():
            path = Path(source.splits) / name
            if not path.is_file():
                raise RefusedError(f'{path} does not exist.')
            text = path.read_text()
        elif source.has(name):
            text = source.text(source.locate(name))
        else:
            return None
        lists[part] = [line.strip() for line in text.splitlines() if line.strip()]
    return lists


def _shrunk(source: Source, name: str):
    def read() -> bytes:
        image = decode(source.read(name), name)
        pixels = image.shape[0] * image.shape[1]
        if pixels > SUN_PIXELS:
            factor = float(np.sqrt(SUN_PIXELS / pixels))
            image = cv2.resize(image, None, fx=factor, fy=factor)
        return encode(image, '.jpg')

    return read
