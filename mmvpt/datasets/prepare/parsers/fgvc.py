# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""CUB-200-2011, NABirds, Stanford Dogs, Stanford Cars, Oxford Flowers as published."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmvpt.datasets.prepare.formats import read_mat
from mmvpt.datasets.prepare.source import Source
from mmvpt.datasets.prepare.task import Item, Pools, RefusedError, Task


def parse_birds(source: Source, task: Task) -> Pools:
    """Read CUB-200-2011 or NABirds, which share text files of lines 'id value'."""
    root = source.root('train_test_split.txt')
    paths = _table(source, f'{root}images.txt')
    class_ids = _table(source, f'{root}image_class_labels.txt')
    trains = _table(source, f'{root}train_test_split.txt')
    names = _table(source, f'{root}classes.txt')
    for other in (class_ids, trains):
        if other.keys() != paths.keys():
            raise RefusedError(
                f'{root}images.txt lists {len(paths)} images, another file of that '
                f'folder {len(other)} or other ones. Download the archive again.'
            )
    used = sorted(set(class_ids.values()), key=int)
    labels = {class_id: label for label, class_id in enumerate(used)}
    items: dict[str, list[Item]] = {'train': [], 'test': []}
    for image, path in paths.items():
        part = 'train' if trains[image] == '1' else 'test'
        items[part].append(
            source.item(path, labels[class_ids[image]], f'{root}images/')
        )
    classes = [names.get(class_id, class_id) for class_id in used]
    return Pools(items, f'official {task.name} archive', classes)


def _table(source: Source, name: str) -> dict[str, str]:
    table = {}
    for number, line in enumerate(source.text(name).splitlines(), 1):
        if line.strip():
            words = line.strip().split(None, 1)
            if len(words) != 2:
                raise RefusedError(f"{name}, line {number}: {line!r} is not 'id value'")
            table[words[0]] = words[1]
    return table


def parse_dogs(source: Source, task: Task) -> Pools:
    """Read Stanford Dogs: ``train_list.mat``, ``test_list.mat`` and ``Images/``."""
    items, classes = {}, {}
    for part in ('train', 'test'):
        name = source.locate(f'{part}_list.mat')
        files, labels = read_mat(source, name, 'file_list', 'labels')
        root = source.root(f'Images/{files[0]}')
        items[part] = [
            source.item(path, label - 1, f'{root}Images/')
            for path, label in zip(files.tolist(), labels.tolist())
        ]
        for item in items[part]:
            classes[item.label] = item.name.split('/')[0].split('-', 1)[-1]
    ordered = [classes[label] for label in sorted(classes)]
    return Pools(items, 'official Stanford Dogs archives', ordered)


def parse_cars(source: Source, task: Task) -> Pools:
    """Read Stanford Cars: ``cars_annos.mat`` with ``car_ims/``, or the devkit.

    VPT's json files name ``car_ims``; the devkit (``cars_train/``, ``cars_test/``)
    numbers the same images differently.
    """
    items: dict[str, list[Item]] = {'train': [], 'test': []}
    if source.has('cars_annos.mat'):
        name = source.locate('cars_annos.mat')
        annotations, names = read_mat(source, name, 'annotations', 'class_names')
        paths = annotations['relative_im_path'].tolist()
        root = source.root(paths[0])
        for path, label, test in zip(
            paths, annotations['class'].tolist(), annotations['test'].tolist()
        ):
            items['test' if test else 'train'].append(
                source.item(path, label - 1, root)
            )
        return Pools(items, 'official Stanford Cars (car_ims)', names.tolist())
    classes = None
    if source.has('cars_meta.mat'):
        (names,) = read_mat(source, source.locate('cars_meta.mat'), 'class_names')
        classes = names.tolist()
    for part, file in (
        ('train', 'cars_train_annos.mat'),
        ('test', 'cars_test_annos_withlabels.mat'),
    ):
        (annotations,) = read_mat(source, source.locate(file), 'annotations')
        if 'class' not in (annotations.dtype.names or ()):
            raise RefusedError(f'{file} has no labels; give the file with labels.')
        files = annotations['fname'].tolist()
        root = source.root(f'cars_{part}/{files[0]}')
        items[part] = [
            source.item(f'cars_{part}/{file}', label - 1, root)
            for file, label in zip(files, annotations['class'].tolist())
        ]
    return Pools(items, 'official Stanford Cars (devkit)', classes)


def parse_flowers(source: Source, task: Task) -> Pools:
    """Read Oxford Flowers 102: ``imagelabels.mat``, ``setid.mat`` and ``jpg/``."""
    (labels,) = read_mat(source, source.locate('imagelabels.mat'), 'labels')
    parts: Mapping[str, np.ndarray] = dict(
        zip(
            ('train', 'val', 'test'),
            read_mat(source, source.locate('setid.mat'), 'trnid', 'valid', 'tstid'),
        )
    )
    first = f'jpg/image_{int(parts["train"][0]):05d}.jpg'
    root = source.root(first)
    items: dict[str, list[Item]] = {}
    for part, ids in parts.items():
        if task.layout == 'vtab-1k':
            part = {'val': 'validation'}.get(part, part)
        items[part] = []
        for number in ids.tolist():
            if not 1 <= number <= len(labels):
                raise RefusedError(
                    f'setid.mat names image {number}, imagelabels.mat has '
                    f'{len(labels)} labels. Give the two published files.'
                )
            file = f'image_{number:05d}.jpg'
            read = source.reader(f'{root}jpg/{file}')
            label = int(labels[number - 1]) - 1
            items[part].append(Item(file, f'jpg/{file}', label, read))
    return Pools(items, 'official Oxford Flowers 102 archives')
