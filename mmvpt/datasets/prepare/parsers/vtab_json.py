# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""VPT's ``vtab_trainval_splits.json``: which 800 and 200 images, by file name."""

from __future__ import annotations

import json

from mmvpt.datasets.prepare.selection import cut, listed, shuffled
from mmvpt.datasets.prepare.source import Source
from mmvpt.datasets.prepare.task import Pools, RefusedError, Task


def read_lists(task: Task, source: Source) -> tuple[list[str], list[str]] | None:
    """Return keys of training and validation images in ``--splits``, None without."""
    if source.splits is None or (task.name == 'sun397' and source.splits.is_dir()):
        return None
    if not source.splits.is_file():
        raise RefusedError(
            f'--splits {str(source.splits)!r}: {task.name} takes the file '
            'vtab_trainval_splits.json, if any.'
        )
    try:
        content = json.loads(source.splits.read_text(encoding='utf-8-sig'))
        entry = content[task.in_lists or task.name]
        return list(map(str, entry['train'])), list(map(str, entry['val']))
    except ValueError as error:
        raise RefusedError(f'{source.splits} is not valid JSON: {error}.') from error
    except (KeyError, TypeError) as error:
        raise RefusedError(
            f'{source.splits} has no lists for {task.name} ({error}). Leave --splits '
            'out: the lists are rebuilt from the raw data.'
        ) from error


def apply_lists(task: Task, pools: Pools, source: Source) -> Pools:
    """Take train800 and val200 from the published lists if they are given."""
    lists = read_lists(task, source)
    if lists is None:
        return pools
    if task.name == 'caltech101':
        raise RefusedError(
            'The published lists of Caltech101 hold bare names such as '
            "'image_0001.jpg', which every class has. Leave --splits out."
        )
    key = task.options.get('list_key', str)
    parts = {part: shuffled(part, items) for part, items in pools.items.items()}
    splits = {}
    rules = (task.rule.train, task.rule.val)
    for split, keys, where in zip(('train800', 'val200'), lists, rules):
        pool = [item._replace(key=key(item.key)) for item in cut(where, parts)]
        splits[split] = listed(keys, pool, str(source.splits), task.name)
    splits['test'] = cut(task.rule.test, parts)
    return pools._replace(
        items=splits,
        final=True,
        official=task.official,
        split_note=f'{source.splits.name} as published with VPT; test: '
        f'{task.split_note}',
    )
