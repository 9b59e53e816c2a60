# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The means of a suite: of groups, of all groups, of all tasks."""

from __future__ import annotations

from collections.abc import Mapping

from tools.recipes.tables import TASKS

#: Groups of VTAB-1k and how many tasks each has.
VTAB = {
    group: sum(task.group == group for task in TASKS.values())
    for group in ('natural', 'specialized', 'structured')
}
FGVC = sum(task.group == 'fgvc' for task in TASKS.values())
SIZES = {**VTAB, 'fgvc': FGVC}


def mean_of_groups(groups: Mapping[str, float]) -> float | None:
    """Return the mean of the three groups of VTAB-1k, None if one is missing."""
    if not all(group in groups for group in VTAB):
        return None
    return sum(groups[group] for group in VTAB) / len(VTAB)


def mean_of_tasks(groups: Mapping[str, float]) -> float | None:
    """Return the mean of the 19 tasks from the means of their groups."""
    if not all(group in groups for group in VTAB):
        return None
    return sum(groups[g] * n for g, n in VTAB.items()) / sum(VTAB.values())


def means(values: Mapping[str, float], groups: Mapping[str, str]) -> dict[str, float]:
    """Return the means that a row allows; a mean needs all its tasks.

    Args:
        values: Figures by task.
        groups: The group of each task.
    """
    found: dict[str, list[float]] = {}
    for task, value in values.items():
        found.setdefault(groups[task], []).append(value)
    complete = {
        group: sum(items) / len(items)
        for group, items in found.items()
        if len(items) == SIZES.get(group)
    }
    both = {
        'mean of groups': mean_of_groups(complete),
        'mean of tasks': mean_of_tasks(complete),
    }
    return {**complete, **{k: v for k, v in both.items() if v is not None}}
