# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The 26 tasks that can be prepared, read from ``tasks.yml``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.fileio import load

from mmvpt.datasets.fgvc import FGVC
from mmvpt.datasets.vtab1k import VTAB1k
from mmvpt.errors import similar

from .parsers import arrays, fgvc, folders, scenes, segmentation
from .task import RefusedError, Rule, Task

PARSERS = dict(
    arrays=arrays, fgvc=fgvc, folders=folders, scenes=scenes, segmentation=segmentation
)
#: How a published list calls an image, from the key that its raw data has.
LIST_KEYS = {
    'cifar': lambda key: f'train_{int(key):05d}',
    # 'a_b_7.jpg' from 'a_b_a_b_7.jpg'
    'doubled': lambda key: key[len(key.rsplit('_', 1)[0]) // 2 + 1 :],
}
ORDERED = 'the order of TensorFlow Datasets; agrees with the lists published with VPT'


def _task(name: str, facts: Mapping[str, Any]) -> Task:
    """Return a task from its entry in ``tasks.yml``."""
    facts = dict(facts)
    place: dict[str, Any]
    options = dict(facts.pop('options', {}))
    if 'list_key' in options:
        options['list_key'] = LIST_KEYS[options['list_key']]
    if 'classes' in options:
        options['classes'] = options['classes'].split()
    if name in FGVC.TASKS:
        place = dict(group='fgvc', folder=f'fgvc/{FGVC.TASKS[name].folders[0]}')
        place['num_classes'] = FGVC.TASKS[name].num_classes
    elif name in VTAB1k.TASKS:
        known = VTAB1k.TASKS[name]
        place = dict(group=known.group, folder=f'vtab-1k/{known.folder}')
        place.update(num_classes=known.num_classes, split_note=ORDERED)
        facts['rule'] = Rule(*facts['rule'])
    else:
        place = dict(group='segmentation')
    module, function = facts.pop('parse').split('.')
    for key in ('archives', 'unverified'):
        facts[key] = tuple(facts.get(key, ()))
    parse = getattr(PARSERS[module], function)
    return Task(name=name, parse=parse, options=options, **{**place, **facts})


TASKS = {
    name: _task(name, facts)
    for name, facts in load(str(Path(__file__).with_name('tasks.yml'))).items()
}


def find_task(name: str) -> Task:
    """Return the task of that name.

    Raises:
        RefusedError: If there is none.
    """
    if name not in TASKS:
        raise RefusedError(
            f'Unknown task {name!r}.{similar(name, TASKS)} Tasks are '
            f'{", ".join(TASKS)}.'
        )
    return TASKS[name]
