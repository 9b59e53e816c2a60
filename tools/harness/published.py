# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Figures that papers state, from the tables in configs/_base_/zoo."""

from __future__ import annotations

from typing import NamedTuple

from tools.recipes.tables import PUBLISHED, read_table

from .groups import mean_of_groups, mean_of_tasks


class Figures(NamedTuple):
    """What is published for a method with a backbone."""

    values: dict[str, float]  # by task, group or mean
    protocol: str
    source: str


def published(method: str, backbone: str) -> Figures | None:
    """Return what is published for a method with a backbone, None if nothing is.

    Both means of VTAB-1k are computed from the means of its groups, since papers state
    one or the other.

    Args:
        method: As in the names of configs.
        backbone: As in the names of configs.
    """
    values = {
        scope: float(text)
        for (name, weights, scope), text in PUBLISHED.items()
        if (name, weights) == (method, backbone)
    }
    if not values:
        return None
    sources = {(r['method'], r['backbone']): r for r in read_table('published_sources')}
    about = sources[method, backbone]
    groups = {
        g: values[g] for g in ('natural', 'specialized', 'structured') if g in values
    }
    for name, mean in (
        ('mean of groups', mean_of_groups(groups)),
        ('mean of tasks', mean_of_tasks(groups)),
    ):
        if mean is not None:
            values[name] = mean
    return Figures(values, about['protocol'], about['source'])
