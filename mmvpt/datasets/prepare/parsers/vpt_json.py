# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""VPT's json splits of the FGVC sets, with the images from anywhere."""

from __future__ import annotations

import json
from pathlib import Path

from mmvpt.datasets.prepare.source import Source
from mmvpt.datasets.prepare.task import Item, Pools, RefusedError, Task, as_published

SPLITS = ('train', 'val', 'test')


def has_json(source: Source) -> bool:
    """Tell whether train.json is in the source or in the folder beside it."""
    return source.splits is not None or source.has('train.json')


def parse_json(task: Task, source: Source) -> Pools:
    """Read train.json, val.json and test.json and find their images."""
    contents = {split: _read(task, source, split) for split in SPLITS}
    ids = sorted(set(contents['train'].values()))
    if len(ids) != task.num_classes:
        raise RefusedError(
            f'train.json has {len(ids)} classes, {task.name} has {task.num_classes}. '
            'Take the json files of this task.'
        )
    for split in ('val', 'test'):
        strange = set(contents[split].values()) - set(ids)
        if strange:
            raise RefusedError(
                f'{split}.json has class id {min(strange)}, which train.json lacks. '
                'Take all three from one source.'
            )
    for a, b in (('train', 'val'), ('train', 'test'), ('val', 'test')):
        twice = contents[a].keys() & contents[b].keys()
        if twice:
            raise RefusedError(f'{min(twice)!r} is both in {a}.json and in {b}.json.')
    labels = {class_id: label for label, class_id in enumerate(ids)}
    prefix = _prefix(source, list(contents['train']))
    items: dict[str, list[Item]] = {}
    for split, content in contents.items():
        missing = [path for path in content if prefix + path not in source]
        if missing:
            raise source.refuse(
                f'{split}.json: {len(missing)} of {len(content)} images are missing, '
                f'the first is {missing[0]!r},'
            )
        items[split] = [
            source.item(path, labels[class_id], prefix)
            for path, class_id in content.items()
        ]
    return Pools(
        items,
        kind="images with VPT's json files",
        final=True,
        official=True,
        split_note="VPT's json files",
    )


def _read(task: Task, source: Source, split: str) -> dict[str, int]:
    if source.splits is None:
        where = source.locate(f'{split}.json')
        content = source.read(where)
    else:
        file = Path(source.splits) / f'{split}.json'
        if not file.is_file():
            raise RefusedError(
                f'{file} does not exist: --splits is the folder with the train.json, '
                f'val.json and test.json that VPT published for {task.name}.'
            )
        where, content = str(file), file.read_bytes()
    with as_published(f'{where} is not valid JSON'):
        entries = json.loads(content.decode('utf-8-sig'))
    if not isinstance(entries, dict) or not entries:
        raise RefusedError(
            f'{where} is not an object {{"relative image path": class id}}.'
        )
    found = {}
    for path, class_id in entries.items():
        if path.startswith('/') or '..' in path.split('/'):
            raise RefusedError(f'{where}: {path!r} leaves the image folder.')
        place = f'{where}: class id {class_id!r} of {path!r}'
        with as_published(f'{place} is not an integer'):
            found[path] = int(class_id)
    return found


def _prefix(source: Source, paths: list[str]) -> str:
    """Return what stands before the listed paths in the source."""
    first = paths[0]
    ending = [n for n in source.names if n == first or n.endswith(f'/{first}')]
    found = [name.removesuffix(first) for name in ending]
    found = [p for p in found if all(p + path in source for path in paths)]
    if not found:
        raise source.refuse(
            f'train.json: the images are missing, the first is {paths[0]!r},'
        )
    return found[0]
