# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Columns that are means over tasks of the zoo."""

from __future__ import annotations

from collections.abc import Mapping

from mmvpt.zoo.tables import TASKS

#: Tasks by group.
TASKS_OF = {
    group: [task.name for task in TASKS.values() if task.group == group]
    for group in ('fgvc', 'natural', 'specialized', 'structured')
}
VTAB = ('natural', 'specialized', 'structured')
#: How many tasks each group of VTAB-1k has.
SIZES = {group: len(TASKS_OF[group]) for group in VTAB}


def _weights() -> dict[str, dict[str, float]]:
    made = {g: dict.fromkeys(tasks, 1 / len(tasks)) for g, tasks in TASKS_OF.items()}
    count = sum(SIZES.values())
    made['mean of groups'] = {
        task: weight / len(VTAB)
        for group in VTAB
        for task, weight in made[group].items()
    }
    made['mean of tasks'] = {task: 1 / count for g in VTAB for task in TASKS_OF[g]}
    return made


#: Column -> task -> its share of the mean.
WEIGHTS = _weights()
#: How tables call these columns.
TITLES = {
    'fgvc': f'mean of {len(TASKS_OF["fgvc"])} tasks',
    **{group: f'{group.capitalize()} ({SIZES[group]})' for group in VTAB},
    'mean of groups': f'mean of {len(VTAB)} groups',
    'mean of tasks': f'mean of {sum(SIZES.values())} tasks',
}


def means_of_vtab(groups: Mapping[str, float]) -> dict[str, float]:
    """Return both means of VTAB-1k from those of its groups, {} if one is missing."""
    if not set(VTAB) <= set(groups):
        return {}
    total = sum(groups[group] * size for group, size in SIZES.items())
    return {
        'mean of groups': sum(groups[group] for group in VTAB) / len(VTAB),
        'mean of tasks': total / sum(SIZES.values()),
    }
