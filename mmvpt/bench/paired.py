# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Paired differences between methods, which means over seeds hide."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from mmvpt.errors import UserError

from .tables import Row, Table


class Difference(NamedTuple):
    """The mean difference of two methods over seeds that both have."""

    mean: float
    half_width: float  # of the 95 % confidence interval
    seeds: int

    def __str__(self) -> str:
        low, high = self.mean - self.half_width, self.mean + self.half_width
        return f'{self.mean:+.1f} [{low:+.1f}, {high:+.1f}]'


def difference(row: Row, other: Row, task: str) -> Difference | None:
    r"""Return by how much ``row`` is above ``other`` in a task, seed by seed.

    The interval is Student's for paired samples,
    :math:`\bar d \pm t_{0.975, n - 1} s_d / \sqrt n`: of other seeds on these test
    images, not of other test images.

    Returns:
        None where fewer than two seeds are common.
    """
    from scipy.stats import t

    ours, theirs = row.by_seed(task), other.by_seed(task)
    deltas = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    n = len(deltas)
    if n < 2:
        return None
    error = statistics.stdev(deltas) / n**0.5
    return Difference(statistics.fmean(deltas), float(t.ppf(0.975, n - 1)) * error, n)


def cells(table: Table, against: Sequence[str]) -> list[list[str]]:
    """Return differences to some methods as rows of text, the first as its head.

    Args:
        table: A table of records.
        against: Names of methods in it; each gives a column for each task.

    Raises:
        UserError: If the table has no such method.
    """
    rows = {table.name(row): row for row in table.rows}
    unknown = [name for name in against if name not in rows]
    if unknown:
        raise UserError(
            f'--against {unknown[0]!r} is no method of {table.title}, which has '
            f'{", ".join(rows)}'
        )
    pairs = [(name, task) for name in against for task in table.tasks]
    single = len(table.tasks) == 1
    head = [f'above {n}' + ('' if single else f', {task}') for n, task in pairs]
    found = [
        [name, *(_text(row, rows[other], task) for other, task in pairs)]
        for name, row in rows.items()
    ]
    return [['method', *head], *found]


def _text(row: Row, other: Row, task: str) -> str:
    delta = None if row is other else difference(row, other, task)
    return '–' if delta is None else str(delta)
