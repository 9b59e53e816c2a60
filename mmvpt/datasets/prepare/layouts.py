# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""From splits to files: where each image goes and what the list files say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from mmvpt.datasets.fgvc import FGVC

from .selection import TRAIN, VAL, hold_out, shuffled, vtab_splits
from .task import Item, Pools, RefusedError, Task


class File(NamedTuple):
    """One file of the output."""

    path: str  # relative to the task's folder
    read: Callable[[], bytes]
    split: str  # images of different splits must differ; '' for annotations


class Plan(NamedTuple):
    """Everything that is to be written for a task."""

    files: list[File]
    texts: dict[str, str]  # path -> content of list files
    counts: dict[str, int]
    official: bool | None
    split_note: str
    kind: str


def plan(task: Task, pools: Pools, counted: bool = True) -> Plan:
    """Turn what a parser found into the files of the task's layout.

    Raises:
        RefusedError: If a class is missing, a label is out of range, a split has an
            unexpected size, or two images would get the same name.
    """
    check_labels(task, pools)
    official = task.official if pools.official is None else pools.official
    note = pools.split_note or task.split_note
    splits = {name: list(items) for name, items in pools.items.items()}
    if task.rule is not None and not pools.final:  # VTAB-1k
        if not pools.stored:
            splits = {part: shuffled(part, items) for part, items in splits.items()}
        splits = vtab_splits(task.rule, splits)
    elif 'val' not in splits and not pools.final:
        splits['train'], splits['val'] = hold_out(splits['train'])
        official = False
        note = (
            'train and test as published; val is a tenth of the published train, '
            "drawn by a hash of the file name: not VPT's draw, which its json files "
            'hold (--splits)'
        )
    counts = {name: len(items) for name, items in splits.items()}
    if task.layout == 'segmentation':  # a map for each image
        counts = {name: count // 2 for name, count in counts.items()}
    if counted:
        _check_counts(task, counts)
    files, texts = WRITERS[task.layout](task, splits)
    if pools.classes is not None and task.layout != 'segmentation':
        names = [' '.join(str(name).split()) for name in pools.classes]
        texts['classes.txt'] = '\n'.join(names) + '\n'
    _check_names(files)
    return Plan(files, texts, counts, official, note, pools.kind)


def check_labels(task: Task, pools: Pools) -> None:
    """Raise RefusedError if a label is out of range or a class has no image at all."""
    if task.layout == 'segmentation':
        return
    found: set[int] = set()
    for part, items in pools.items.items():
        for item in items:
            if not 0 <= item.label < task.num_classes:
                raise RefusedError(
                    f'{task.name}: label {item.label} of {item.key!r} in {part!r} is '
                    f'outside 0..{task.num_classes - 1}. The annotations are not those '
                    'of this data set.'
                )
            found.add(item.label)
    missing = sorted(set(range(task.num_classes)) - found)
    if missing:
        named = [str(label) for label in missing[:5]]
        if pools.classes is not None and len(pools.classes) == task.num_classes:
            named = [str(pools.classes[label]) for label in missing[:5]]
        raise RefusedError(
            f'{task.name}: {len(missing)} of {task.num_classes} classes have no image, '
            f'such as {", ".join(named)}. Complete the source.'
        )


def expected_counts(task: Task) -> dict[str, int]:
    """Return the expected images per split."""
    if task.layout != 'vtab-1k':
        return dict(task.counts)
    return {'train800': TRAIN, 'val200': VAL, **task.counts}


def _check_counts(task: Task, counts: Mapping[str, int]) -> None:
    for split, expected in expected_counts(task).items():
        if counts.get(split, 0) != expected:
            doubt = ' (a figure that we could not verify)'
            raise RefusedError(
                f'{task.name}: {split} would have {counts.get(split, 0)} images, '
                f'expected {expected}{doubt * (split in task.unverified)}. Complete '
                'the source, or give --allow-counts if it is meant.'
            )


def _check_names(files: Sequence[File]) -> None:
    paths: set[str] = set()
    for file in files:
        folded = file.path.lower()  # some file systems ignore case
        if folded in paths:
            raise RefusedError(f'Two images would be written to {file.path!r}.')
        if '..' in PurePosixPath(file.path).parts or '\n' in file.path:
            raise RefusedError(f'{file.path!r} is no name for a file here.')
        paths.add(folded)


def _vtab(task: Task, splits: Mapping[str, Sequence[Item]]):
    files, texts = [], {}
    for split, items in splits.items():
        lines = []
        for item in items:
            path = f'images/{split}/{item.name}'
            files.append(File(path, item.read, split))
            lines.append(f'{path} {item.label}\n')
        texts[f'{split}.txt'] = ''.join(lines)
    texts['train800val200.txt'] = texts['train800.txt'] + texts['val200.txt']
    return files, texts


def _fgvc(task: Task, splits: Mapping[str, Sequence[Item]]):
    folder = FGVC.TASKS[task.name].image_dirs[0]
    files, texts = [], {}
    for split in ('train', 'val', 'test'):
        content = {}
        for item in splits[split]:
            path = item.name if folder == '.' else f'{folder}/{item.name}'
            files.append(File(path, item.read, split))
            content[item.name] = item.label
        texts[f'{split}.json'] = json.dumps(content, indent=0) + '\n'
    return files, texts


def _segmentation(task: Task, splits: Mapping[str, Sequence[Item]]):
    """Items come in pairs of equal key: an image (label 0) and its map (label 1)."""
    files, texts = [], {}
    for split, items in splits.items():
        for item in items:
            files.append(File(item.name, item.read, '' if item.label else split))
    folder = task.options.get('lists')
    if folder:
        for split, items in splits.items():
            keys = [item.key for item in items if not item.label]
            texts[f'{folder}/{split}.txt'] = ''.join(f'{key}\n' for key in keys)
    return files, texts


WRITERS = {'vtab-1k': _vtab, 'fgvc': _fgvc, 'segmentation': _segmentation}
