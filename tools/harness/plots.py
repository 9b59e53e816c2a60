# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Plots of records: accuracy against parameters, bars of groups, search histories."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter  # noqa: E402

from .strategies import Outcome, curve  # noqa: E402
from .tables import Table  # noqa: E402

# Okabe and Ito's colours, which the colour-blind tell apart, and marks for the rest.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
MARKS = 'osD^vP*X'
_METRICS = {'accuracy/top1': 'top-1 accuracy, %', 'mIoU': 'mIoU, %'}
_GROUPS = ('natural', 'specialized', 'structured')


def _style(i: int) -> dict:
    return dict(color=COLOURS[i % len(COLOURS)], marker=MARKS[i // len(COLOURS) % 8])


def accuracy_against_parameters(table: Table, path: Path) -> Path | None:
    """Plot the mean of all tasks against the tuned parameters.

    Args:
        table: The table; rows that lack a task are left out.
        path: The picture.

    Returns:
        The path, None if fewer than two rows are complete.
    """
    rows = [
        (i, row)
        for i, row in enumerate(table.rows)
        if len(row.records) == len(table.tasks)
    ]
    if len(rows) < 2:
        return None
    fig, axis = plt.subplots(figsize=(8, 4.8))
    for i, row in rows:
        values = [row.mean(task) for task in table.tasks]
        error = None
        if len(table.tasks) == 1 and len(row.values(table.tasks[0])) > 1:
            error = statistics.stdev(row.values(table.tasks[0]))
        axis.errorbar(
            row.tuned(),
            statistics.fmean(values),
            error,
            capsize=3,
            markersize=8,
            linestyle='',
            label=table.name(row),
            **_style(i),
        )
    axis.set_xscale('log')
    axis.xaxis.set_major_formatter(FuncFormatter(_short))
    axis.set_xlabel('tuned parameters, with the head')
    count = len(table.tasks)
    label = _METRICS.get(table.metric, table.metric)
    axis.set_ylabel(label if count == 1 else f'{label}, mean of {count} tasks')
    axis.set_title(table.title, fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc='center left', bbox_to_anchor=(1.0, 0.5))
    return _save(fig, path)


def group_bars(table: Table, path: Path) -> Path | None:
    """Plot the means of the groups of VTAB-1k, or each task of another suite.

    Args:
        table: The table.
        path: The picture.

    Returns:
        The path, None if there are no rows.
    """
    columns = [c for c in table.columns if c in _GROUPS] or list(table.tasks)
    if not table.rows:
        return None
    width = 0.8 / len(table.rows)
    fig, axis = plt.subplots(
        figsize=(max(6.0, 0.28 * len(columns) * len(table.rows) + 4.0), 4.2)
    )
    low, absent = math.inf, []
    for i, row in enumerate(table.rows):
        figures = table.figures(row)
        for j, column in enumerate(columns):
            if column not in figures:
                absent.append(j - 0.4 + width * (i + 0.5))
                continue
            values = row.values(column)
            error = statistics.stdev(values) if len(values) > 1 else None
            low = min(low, figures[column] - (error or 0))
            axis.bar(
                j - 0.4 + width * (i + 0.5),
                figures[column],
                width * 0.9,
                yerr=error,
                capsize=2,
                color=COLOURS[i % len(COLOURS)],
                hatch='//' if i >= len(COLOURS) else None,
                edgecolor='white',
                label=table.name(row) if j == 0 else None,
            )
    axis.set_ylim(bottom=max(0.0, math.floor((low - 2) / 5) * 5))
    for x in absent:
        axis.annotate(
            'missing', (x, axis.get_ylim()[0]), rotation=90, fontsize=7, ha='center'
        )
    axis.set_xticks(range(len(columns)), [c.capitalize() for c in columns])
    label = _METRICS.get(table.metric, table.metric)
    axis.set_ylabel(f'{label} (the axis is cut)')
    axis.set_title(table.title, fontsize=10)
    axis.legend(fontsize=8, loc='center left', bbox_to_anchor=(1.0, 0.5))
    axis.spines[['top', 'right']].set_visible(False)
    return _save(fig, path)


def search_history(records: Sequence[dict], path: Path) -> Path | None:
    """Plot the best validation so far against what was trained, one panel per task.

    Args:
        records: Records of searches.
        path: The picture.

    Returns:
        The path, None if there is no search.
    """
    tasks = list(dict.fromkeys(record['task'] for record in records))
    if not tasks:
        return None
    columns = min(3, len(tasks))
    lines = math.ceil(len(tasks) / columns)
    fig, axes = plt.subplots(
        lines, columns, figsize=(4.6 * columns + 2, 3.6 * lines), squeeze=False
    )
    for axis in axes.flat[len(tasks) :]:
        axis.set_visible(False)
    names = list(dict.fromkeys(_searched(record) for record in records))
    for axis, task in zip(axes.flat, tasks):
        for record in (record for record in records if record['task'] == task):
            outcomes = {
                trial['slot']: Outcome(
                    trial['state'], trial['value'], trial['steps'], trial['cost']
                )
                for trial in record['trials']
            }
            points = curve(outcomes)
            name = _searched(record)
            style = _style(names.index(name))
            axis.step(*zip(*points), where='post', color=style['color'], label=name)
            axis.plot(*points[-1], style['marker'], color=style['color'])
        axis.set_title(task, fontsize=10)
        axis.set_xlabel('epochs or iterations trained, all trials')
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel('best on validation so far')
    handles: dict = {}
    for axis in axes.flat:
        for handle, name in zip(*axis.get_legend_handles_labels()):
            handles.setdefault(name, handle)
    fig.legend(
        handles.values(),
        handles.keys(),
        fontsize=8,
        loc='center left',
        bbox_to_anchor=(1.0, 0.5),
    )
    return _save(fig, path)


def _searched(record: dict) -> str:
    return f'{record["method"]} ({record["strategy"]["name"]})'


def _short(value: float, _position: object = None) -> str:
    for factor, unit in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if value >= factor:
            return f'{value / factor:g} {unit}'
    return f'{value:g}'


def _save(fig: plt.Figure, path: Path) -> Path:
    fig.tight_layout()
    fig.savefig(path, dpi=120, bbox_inches='tight')
    plt.close(fig)
    return path
