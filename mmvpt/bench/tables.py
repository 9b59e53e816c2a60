# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Tables of records: rows, columns, what papers state, and their cells as text."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mmvpt.zoo.tables import PUBLISHED, TASKS, read_table

from .console import show_settings

MISSING = '–'
METRICS = {'accuracy/top1': 'top-1 accuracy', 'mIoU': 'mIoU'}
#: Tasks by group.
TASKS_OF = {
    group: [task.name for task in TASKS.values() if task.group == group]
    for group in ('fgvc', 'natural', 'specialized', 'structured')
}
VTAB = ('natural', 'specialized', 'structured')
#: How many tasks each group of VTAB-1k has.
SIZES = {group: len(TASKS_OF[group]) for group in VTAB}

#: Column -> task -> its share of the mean.
WEIGHTS = {g: dict.fromkeys(tasks, 1 / len(tasks)) for g, tasks in TASKS_OF.items()}
WEIGHTS['mean of groups'] = {
    task: share / len(VTAB) for group in VTAB for task, share in WEIGHTS[group].items()
}
WEIGHTS['mean of tasks'] = dict.fromkeys(
    WEIGHTS['mean of groups'], 1 / sum(SIZES.values())
)
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


class Figures(NamedTuple):
    """What is published for a method with a backbone."""

    values: dict[str, float]  # by task, group or mean
    protocol: str
    source: str


def published(method: str, backbone: str) -> Figures | None:
    """Return what is published for a method with a backbone, None if nothing is.

    Papers state one mean of VTAB-1k or the other; where they state the means of its
    groups, both are computed from those.

    Args:
        method: As in the names of configs.
        backbone: As in the names of configs, for segmentation with the decoder.
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
    return Figures(
        {**values, **means_of_vtab(values)}, about['protocol'], about['source']
    )


class Figure(NamedTuple):
    """A mean over seeds."""

    mean: float
    std: float | None  # the sample standard deviation; None: of one seed, or mixed
    seeds: int | None  # None: the tasks have different seeds

    def __str__(self) -> str:
        return f'{self.mean:.1f}' + ('' if self.std is None else f' ± {self.std:.1f}')


@dataclass
class Row:
    """One method with one backbone under one protocol."""

    method: str
    backbone: str
    records: dict[str, list[dict]] = field(default_factory=dict)  # by task

    def figure(self, weights: Mapping[str, float]) -> Figure | None:
        """Return a mean over tasks, None if one of them is missing.

        The standard deviation is that of each seed's mean over the tasks, where all
        tasks have the same seeds.
        """
        if not set(weights) <= set(self.records):
            return None
        values = {task: self.by_seed(task) for task in weights}
        mean = sum(w * statistics.fmean(values[t].values()) for t, w in weights.items())
        seeds = {frozenset(by_seed) for by_seed in values.values()}
        if len(seeds) > 1:
            return Figure(mean, None, None)
        means = [
            sum(w * values[task][seed] for task, w in weights.items())
            for seed in seeds.pop()
        ]
        return Figure(mean, _deviation(means), len(means))

    def by_seed(self, task: str) -> dict[int, float]:
        """Return the test figure of each seed."""
        records = self.records.get(task, ())
        return {r['seed']: r['metrics']['test'][r['metric']] for r in records}

    def tuned(self) -> float:
        """Return the tuned parameters, the mean over tasks."""
        return statistics.fmean(r['tuned_parameters'] for r in self.all())

    def seconds(self) -> float:
        """Return the mean length of a training."""
        return statistics.fmean(r['measured']['seconds'] for r in self.all())

    def all(self) -> list[dict]:
        """Return all records."""
        return [record for records in self.records.values() for record in records]


@dataclass
class Table:
    """All rows of a suite under one protocol."""

    suite: str
    protocol: dict[str, Any]
    groups: dict[str, str]  # of each task, in the order of the columns
    rows: list[Row]
    metric: str

    @property
    def tasks(self) -> list[str]:
        """All tasks, also those without a record."""
        return list(self.groups)

    @property
    def title(self) -> str:
        """What it is called."""
        label = f' ({self.protocol["label"]})' if self.protocol['label'] else ''
        return f'{self.suite}, protocol {self.protocol["name"]}{label}'

    @property
    def columns(self) -> list[str]:
        """Tasks, each group followed by its mean, then the means of all.

        A mean has a column where the table has all its tasks.
        """
        means = [c for c, w in WEIGHTS.items() if set(w) <= set(self.groups)]
        columns: list[str] = []
        for group in dict.fromkeys(self.groups.values()):
            columns += [task for task in self.tasks if self.groups[task] == group]
            columns += [group] if group in means else []
        return columns + [mean for mean in means if mean not in columns]

    def name(self, row: Row) -> str:
        """Return what a row is called.

        The backbone is part of it where there are several, and the label of
        test-selected figures always is.
        """
        name = row.method
        if row.backbone and len({other.backbone for other in self.rows}) > 1:
            name += f' ({row.backbone})'
        label = self.protocol['label']
        return f'{name} [{label}]' if label else name

    def figures(self, row: Row) -> dict[str, Figure]:
        """Return the figures of a row by column, without what is missing."""
        found = {
            column: row.figure(
                {column: 1.0} if column in self.groups else WEIGHTS[column]
            )
            for column in self.columns
        }
        return {column: figure for column, figure in found.items() if figure}

    def published(self, row: Row) -> Figures | None:
        """Return what is published of a row's columns, None if nothing is."""
        paper = published(row.method, row.backbone)
        if paper is None or not set(paper.values) & set(self.columns):
            return None
        return paper


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def spread(values: Sequence[float]) -> str:
    """Return 'mean ± sample standard deviation', without the latter for one value."""
    return str(Figure(statistics.fmean(values), _deviation(values), len(values)))


def column_title(column: str) -> str:
    """Return what the head of a table and the axis of a plot call a column."""
    return TITLES.get(column, column.removeprefix('vtab-'))


def cells(table: Table) -> list[list[str]]:
    """Return a table as rows of text, the first as its head."""
    columns = table.columns
    single = len(table.tasks) == 1
    records = [record for row in table.rows for record in row.all()]
    validated = single and any(record['metrics']['val'] for record in records)
    searched = single and any(record['settings'] for record in records)
    before = ['tuned parameters', 's per run'] + ['val'] * validated
    after = ['settings'] * searched
    titles = ['test'] if single else [column_title(column) for column in columns]
    rows = [['method', *before, *titles, *after]]
    for row in table.rows:
        figures = table.figures(row)
        costs = [f'{row.tuned():,.0f}', f'{row.seconds():.0f}']
        costs += [_validation(row)] * validated
        values = [str(figures.get(column, MISSING)) for column in columns]
        settings = show_settings(row.all()[0]['settings']) or MISSING
        rows.append([table.name(row), *costs, *values, *[settings] * searched])
        for name, values in _compared(table, row):
            rows.append([name, *[''] * len(before), *values, *[''] * len(after)])
    return rows


def _validation(row: Row) -> str:
    shown = [(r['metrics']['val'] or {}).get(r['metric']) for r in row.all()]
    values = [value for value in shown if value is not None]
    return spread(values) if values else MISSING


def _compared(table: Table, row: Row) -> list[tuple[str, list[str]]]:
    """Return the lines of the published figures and of the difference."""
    paper = table.published(row)
    if paper is None:
        return []
    stated = {c: paper.values[c] for c in table.columns if c in paper.values}
    gaps = {c: f.mean - stated[c] for c, f in table.figures(row).items() if c in stated}
    published, apart = (
        [format(found[c], form) if c in found else MISSING for c in table.columns]
        for found, form in ((stated, '.1f'), (gaps, '+.1f'))
    )
    return [(f'published ({paper.protocol})', published), ('difference', apart)]
