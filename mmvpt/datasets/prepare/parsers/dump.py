# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The community's VTAB-1k dump: images plus lists of lines 'path label'."""

from __future__ import annotations

from collections import Counter

from mmvpt.datasets.prepare.selection import TRAIN
from mmvpt.datasets.prepare.source import Source
from mmvpt.datasets.prepare.task import Item, Pools, RefusedError, Task
from mmvpt.datasets.vtab1k import VTAB1k

LISTS = ('train800', 'val200', 'test')
UNION = 'train800val200'


def _root(task: Task, source: Source) -> str | None:
    """Return the prefix of the task's folder in the source, or None."""
    folder = VTAB1k.TASKS[task.name].folder
    for name in (folder, task.name):
        for split in (UNION, 'train800'):
            if source.has(f'{name}/{split}.txt'):
                return source.root(f'{name}/{split}.txt') + f'{name}/'
    roots = {name.rpartition('/')[0] for name in source.matching(f'{UNION}.txt')}
    if len(roots) == 1 and source.path.name.split('.')[0] in ('', folder, task.name):
        return ''.join(f'{root}/' for root in roots if root)
    if roots == {''} and source.path.is_dir():
        return ''
    return None


def is_dump(task: Task, source: Source) -> bool:
    """Tell whether the source is the dump, or its folder of this task."""
    return _root(task, source) is not None


def parse_dump(task: Task, source: Source) -> Pools:
    """Read the lists of a dump.

    The list of all 1,000 images must be the union of the other two. Dumps that hold
    only it are split at 800.
    """
    root = _root(task, source)
    if root is None:
        raise source.refuse(f'{task.name}: the lists of a dump are missing')
    official, note = True, 'the lists of the community dump'
    lists = {
        split: _entries(source, root, split)
        for split in (*LISTS, UNION)
        if f'{root}{split}.txt' in source
    }
    if 'test' not in lists:
        raise source.refuse(f'{root}test.txt is missing')
    if 'train800' not in lists or 'val200' not in lists:
        if UNION not in lists:
            raise source.refuse(f'{root}train800.txt and val200.txt are missing')
        lists['train800'] = lists[UNION][:TRAIN]
        lists['val200'] = lists[UNION][TRAIN:]
        official = False
        note = 'train800val200 and test as in the dump, cut after 800 images'
    elif UNION in lists:
        _check_union(task, source, root, lists)
    return Pools(
        {
            split: [
                Item(path, _short(path), label, source.reader(root + path))
                for path, label in lists[split]
            ]
            for split in LISTS
        },
        kind='community dump of VTAB-1k',
        final=True,
        official=official,
        split_note=note,
    )


def _short(path: str) -> str:
    """Return a listed path without 'images/<split>/'."""
    parts = path.split('/')
    if parts[0] == 'images':
        parts = parts[1:]
    if len(parts) > 1 and parts[0] in (*LISTS, UNION):
        parts = parts[1:]
    return '/'.join(parts)


def _entries(source: Source, root: str, split: str) -> list[tuple[str, int]]:
    name = f'{root}{split}.txt'
    entries = []
    for number, line in enumerate(source.text(name).splitlines(), 1):
        words = line.strip().rsplit(None, 1)
        if not words:
            continue
        if len(words) != 2 or not words[1].isdigit():
            raise RefusedError(f"{name}, line {number}: {line!r} is not 'path label'.")
        path = words[0][2:] if words[0].startswith('./') else words[0]
        if root + path not in source:
            raise RefusedError(
                f'{name}, line {number}: image {path!r} is missing. The dump is '
                'incomplete; get it again.'
            )
        entries.append((path, int(words[1])))
    if not entries:
        raise RefusedError(f'{name} is empty.')
    return entries


def _check_union(task: Task, source: Source, root: str, lists: dict) -> None:
    def content(*splits):
        entries = (entry for split in splits for entry in lists[split])
        return Counter((source.read(root + path), label) for path, label in entries)

    if content('train800', 'val200') != content(UNION):
        raise RefusedError(
            f'{task.name}: {UNION}.txt of the dump does not list the images and labels '
            'of train800.txt and val200.txt. Get the dump again.'
        )
