# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Plots of records: accuracy against parameters, bars of groups, search histories."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

from mmvpt.analysis.pictures import COLOURS  # noqa: E402

from .strategies import Outcome, curve  # noqa: E402
from .tables import METRICS, VTAB, Figure, Table, column_title  # noqa: E402

# Each round through the colours has another mark, line and hatch, so that 21 styles
# differ.
MARKS = 'osD'
LINES = ('-', '--', ':')
HATCHES = ('', '////', 'xxx')
_OUTSIDE = dict(fontsize=8, loc='upper left', bbox_to_anchor=(1.01, 1.0))


def _style(i: int) -> tuple[str, str, str, str]:
    """Return colour, mark, line and hatch of the i-th row."""
    turn = i // len(COLOURS) % len(MARKS)
    return COLOURS[i % len(COLOURS)], MARKS[turn], LINES[turn], HATCHES[turn]


def _percent(metric: str) -> str:
    return f'{METRICS.get(metric, metric)}, %'


def _title(table: Table, figures: Iterable[Figure]) -> str:
    spread = any(figure.std is not None for figure in figures)
    return table.title + '\nerror bars: ± standard deviation over seeds' * spread


def accuracy_against_parameters(table: Table, path: Path) -> Path | None:
    """Plot the mean of the tasks against the tuned parameters.

    Args:
        table: The table. Tasks that no row has do not count, and rows that lack one of
            the others are named below the plot.
        path: The picture.

    Returns:
        The path, None if fewer than two rows are complete.
    """
    tasks = [t for t in table.tasks if any(t in row.records for row in table.rows)]
    weights = dict.fromkeys(tasks, 1 / len(tasks))
    points = {i: row.figure(weights) for i, row in enumerate(table.rows)}
    shown = {i: figure for i, figure in points.items() if figure}
    if len(shown) < 2:
        return None
    fig, axis = plt.subplots(figsize=(8, 4.8))
    for i, figure in shown.items():
        tuned, (colour, mark, *_) = table.rows[i].tuned(), _style(i)
        if figure.std is not None:
            axis.errorbar(tuned, figure.mean, figure.std, capsize=3, color=colour)
        axis.plot(
            tuned,
            figure.mean,
            markersize=8,
            linestyle='',
            label=table.name(table.rows[i]),
            color=colour,
            marker=mark,
        )
    _scale(axis, [table.rows[i].tuned() for i in shown])
    axis.set_xlabel('tuned parameters, with the head')
    count, total = len(tasks), len(table.tasks)
    mean = f', mean of {count} tasks' + f' out of {total}' * (count < total)
    axis.set_ylabel(_percent(table.metric) + mean * (total > 1))
    absent = [table.name(row) for i, row in enumerate(table.rows) if i not in shown]
    if absent:
        note = f'not shown, a task is missing: {", ".join(absent)}'
        axis.annotate(note, (0, -0.2), xycoords='axes fraction', fontsize=8, va='top')
    axis.set_title(_title(table, shown.values()), fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(**_OUTSIDE)
    return _save(fig, path)


def _scale(axis: plt.Axes, values: Sequence[float]) -> None:
    """Make the axis logarithmic, and label it, if the values need that."""
    ratio = max(values) / max(min(values), 1.0)
    if ratio > 10:
        axis.set_xscale('log')
        subs = (1, 2, 5) if ratio < 100 else (1,)
        axis.xaxis.set_major_locator(LogLocator(subs=subs))
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_formatter(FuncFormatter(_short))


def group_bars(table: Table, path: Path) -> Path | None:
    """Plot the means of the groups of VTAB-1k, or each task of another suite.

    Where no row has all tasks of a group, tasks stand for the groups.

    Returns:
        The path, None if there are no rows.
    """
    if not table.rows:
        return None
    rows = [table.figures(row) for row in table.rows]
    columns = [c for c in table.columns if c in VTAB]
    if not any(column in figures for figures in rows for column in columns):
        columns = table.tasks
    width = 0.8 / len(rows)
    size = min(len(columns) * max(1.5, 0.2 * (len(rows) + 1)) + 2.0, 20.0)
    fig, axis = plt.subplots(figsize=(size, 4.2))
    low, absent = math.inf, []
    for i, figures in enumerate(rows):
        for j, column in enumerate(columns):
            x = j - 0.4 + width * (i + 0.5)
            if column not in figures:
                absent.append(x)
                continue
            figure = figures[column]
            low = min(low, figure.mean - (figure.std or 0))
            axis.bar(
                x, figure.mean, width * 0.9, yerr=figure.std, capsize=2, **_filled(i)
            )
    bottom = max(0.0, math.floor((low - 2) / 5) * 5)
    axis.set_ylim(bottom=bottom)
    axis.set_xlim(-0.6, len(columns) - 0.4)
    for x in absent:
        axis.annotate(
            'missing',
            (x, bottom),
            (0, 3),
            textcoords='offset points',
            rotation=90,
            fontsize=7,
            ha='center',
            va='bottom',
        )
    slanted = dict(rotation=45, ha='right', rotation_mode='anchor')
    axis.set_xticks(
        range(len(columns)),
        [column_title(c) for c in columns],
        **(slanted if len(columns) > 6 else {}),
    )
    axis.set_ylabel(_percent(table.metric) + (' (the axis is cut)' if bottom else ''))
    drawn = (f for figures in rows for c, f in figures.items() if c in columns)
    axis.set_title(_title(table, drawn), fontsize=10)
    handles = [
        Patch(label=table.name(row), **_filled(i)) for i, row in enumerate(table.rows)
    ]
    axis.legend(handles=handles, **_OUTSIDE)
    axis.spines[['top', 'right']].set_visible(False)
    return _save(fig, path)


def seeds_of_one_task(table: Table, path: Path) -> Path | None:
    """Plot each seed and the mean of each method of a table with one task, best first.

    Returns:
        The path, None if there are no rows.
    """
    (task,) = table.tasks
    by_mean = sorted(table.rows, key=lambda row: row.figure({task: 1.0}).mean)
    if not by_mean:
        return None
    fig, axis = plt.subplots(figsize=(7, 0.28 * len(by_mean) + 1.2))
    for y, row in enumerate(by_mean):
        values = [r['metrics']['test'][table.metric] for r in row.all()]
        axis.scatter(values, [y] * len(values), s=22, alpha=0.5, color=COLOURS[0], lw=0)
        axis.scatter(row.figure({task: 1.0}).mean, y, s=160, marker='|', color='black')
    axis.set_yticks(
        range(len(by_mean)),
        [f'{table.name(row)}, {_short(row.tuned())}' for row in by_mean],
    )
    axis.set_xlabel(_percent(table.metric) + ' on test; dots: seeds, bar: their mean')
    axis.set_title(f'{table.title}; method, tuned parameters', fontsize=10)
    axis.grid(alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[['top', 'right']].set_visible(False)
    return _save(fig, path)


def _filled(i: int) -> dict:
    colour, _, _, hatch = _style(i)
    return dict(facecolor=colour, hatch=hatch, edgecolor='white')


def search_history(records: Sequence[dict], path: Path) -> Path | None:
    """Plot the best validation so far against what was trained, one panel per task.

    Returns:
        The path, None if there is no search.
    """
    panels: dict[tuple[str, str], list[dict]] = {}
    for record in records:
        panels.setdefault((record['suite'], record['task']), []).append(record)
    if not panels:
        return None
    several = len({suite for suite, _ in panels}) > 1
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    fig, axes = plt.subplots(
        lines, columns, figsize=(4.6 * columns + 2, 3.6 * lines), squeeze=False
    )
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    backbones = len({record['backbone'] for record in records}) > 1

    def name_of(record: dict) -> str:
        backbone = f'{record["backbone"]}, ' * backbones
        return f'{record["method"]} ({backbone}{record["strategy"]["name"]})'

    styles = {n: _style(i) for i, n in enumerate(dict.fromkeys(map(name_of, records)))}
    handles: dict = {}
    for axis, ((suite, task), items) in zip(axes.flat, panels.items()):
        for record in items:
            name = name_of(record)
            colour, mark, line, _ = styles[name]
            outcomes = {
                t['slot']: Outcome(t['state'], t['value'], t['steps'], t['cost'])
                for t in record['trials']
            }
            (handles[name],) = axis.plot(
                *zip(*curve(outcomes)),
                drawstyle='steps-post',
                color=colour,
                linestyle=line,
                marker=mark,
                markevery=[-1],
            )
        axis.set_title(f'{suite}: {task}' if several else task, fontsize=10)
        axis.set_xlabel('epochs or iterations trained, all trials')
        metric = items[0]['metric']
        axis.set_ylabel(
            f'best {METRICS.get(metric, metric)} on validation so far, %', fontsize=9
        )
        axis.grid(alpha=0.3)
    axes[0][-1].legend(handles.values(), handles.keys(), **_OUTSIDE)
    return _save(fig, path)


def _short(value: float, _position: object = None) -> str:
    for factor, unit in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if value >= factor:
            return f'{value / factor:.3g} {unit}'
    return f'{value:g}'


def _save(fig: plt.Figure, path: Path) -> Path:
    fig.tight_layout()
    fig.savefig(path, dpi=120, bbox_inches='tight')
    plt.close(fig)
    return path
