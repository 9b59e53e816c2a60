# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Records to tables: Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmvpt.protocol import comparable
from tools.recipes.tables import TASKS

from .groups import FGVC, VTAB, means
from .published import Figures, published

MISSING = '–'
_MEANS = {
    'fgvc': f'mean of {FGVC} tasks',
    'natural': f'Natural ({VTAB["natural"]})',
    'specialized': f'Specialized ({VTAB["specialized"]})',
    'structured': f'Structured ({VTAB["structured"]})',
    'mean of groups': f'mean of {len(VTAB)} groups',
    'mean of tasks': f'mean of {sum(VTAB.values())} tasks',
}


@dataclass
class Row:
    """One method with one backbone under one protocol."""

    method: str
    backbone: str
    records: dict[str, list[dict]] = field(default_factory=dict)  # by task

    def values(self, task: str) -> list[float]:
        """Return the test figures of the seeds."""
        return [r['metrics']['test'][r['metric']] for r in self.records.get(task, [])]

    def mean(self, task: str) -> float:
        """Return the mean over seeds."""
        return statistics.fmean(self.values(task))

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
    tasks: list[str]
    groups: dict[str, str]
    rows: list[Row]
    metric: str

    @property
    def title(self) -> str:
        """What it is called."""
        label = f' ({self.protocol["label"]})' if self.protocol['label'] else ''
        return f'{self.suite}, protocol {self.protocol["name"]}{label}'

    @property
    def columns(self) -> list[str]:
        """Tasks, each group followed by its mean, then the means of all."""
        columns: list[str] = []
        for group in dict.fromkeys(self.groups[task] for task in self.tasks):
            columns += [task for task in self.tasks if self.groups[task] == group]
            columns += [group] if group in _MEANS else []
        if set(VTAB) <= set(columns):
            columns += ['mean of groups', 'mean of tasks']
        return columns

    def name(self, row: Row) -> str:
        """Return what a row is called; test-selected figures say so."""
        label = self.protocol['label']
        return f'{row.method} [{label}]' if label else row.method

    def figures(self, row: Row) -> dict[str, float]:
        """Return the figures of a row by column."""
        values = {task: row.mean(task) for task in row.records}
        return {**values, **means(values, self.groups)}


def collect(records: Iterable[dict]) -> tuple[list[Table], list[str]]:
    """Arrange the records of final runs.

    Args:
        records: Valid records of either kind.

    Returns:
        The tables, and notices of what does not fit together.
    """
    runs: dict[tuple, dict] = {}
    notices = []
    for record in records:
        if record['kind'] != 'run':
            continue
        key = (
            *(record['suite'], record['protocol']['name'], record['method']),
            *(record['backbone'], record['task'], record['seed']),
        )
        if key in runs and comparable(runs[key]) != comparable(record):
            notices.append(
                f'two different records of {", ".join(map(str, key))}: the first counts'
            )
        runs.setdefault(key, record)
    tables: dict[tuple, list[dict]] = {}
    for key, record in runs.items():
        tables.setdefault(key[:2], []).append(record)
    made = [_table(suite, items) for (suite, _), items in sorted(tables.items())]
    for table in made:
        notices += _oddities(table)
    return made, notices


def _table(suite: str, records: Sequence[dict]) -> Table:
    order = list(TASKS)
    groups = {record['task']: record['group'] for record in records}
    tasks = sorted(groups, key=lambda t: (order.index(t) if t in order else 99, t))
    rows: dict[tuple[str, str], Row] = {}
    for record in sorted(records, key=lambda r: r['seed']):
        key = record['method'], record['backbone']
        row = rows.setdefault(key, Row(*key))
        row.records.setdefault(record['task'], []).append(record)
    ordered = sorted(rows.values(), key=lambda row: (row.backbone, row.tuned()))
    return Table(
        suite, records[0]['protocol'], tasks, groups, ordered, records[0]['metric']
    )


def _oddities(table: Table) -> list[str]:
    """Name cells whose seeds differ in more than the seed, or are too few."""
    found = []
    for row in table.rows:
        for task, records in row.records.items():
            place = f'{table.title}: {row.method} on {task}'
            for name, value in (
                ('settings', lambda r: r['settings']),
                ('checkpoints', lambda r: r['protocol']['checkpoint']['sha256']),
            ):
                if any(value(record) != value(records[0]) for record in records):
                    found.append(f'{place}: the seeds differ in their {name}')
            missing = set(records[0]['protocol']['seeds']) - {
                r['seed'] for r in records
            }
            if missing:
                found.append(f'{place}: seeds {sorted(missing)} are missing')
    return found


def spread(values: Sequence[float]) -> str:
    """Return 'mean ± sample standard deviation', without the latter for one value."""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f'{mean:.1f}'
    return f'{mean:.1f} ± {statistics.stdev(values):.1f}'


def cells(table: Table) -> list[list[str]]:
    """Return a table as rows of text, the first as its head."""
    columns = table.columns
    single = len(table.tasks) == 1
    head = ['method', 'tuned parameters', 's per run']
    validated = single and any(
        r['metrics']['val'] for row in table.rows for r in row.all()
    )
    if validated:
        head.append('val')
    head += (
        ['test']
        if single
        else [_MEANS.get(c, c.removeprefix('vtab-')) for c in columns]
    )
    searched = single and any(r['settings'] for row in table.rows for r in row.all())
    rows = [head + ['settings'] * searched]
    for row in table.rows:
        figures = table.figures(row)
        line = [table.name(row), f'{row.tuned():,.0f}', f'{row.seconds():.0f}']
        if validated:
            line.append(_validation(row))
        for column in columns:
            if column in row.records:
                line.append(spread(row.values(column)))
            else:
                line.append(f'{figures[column]:.1f}' if column in figures else MISSING)
        rows.append(line + [_settings(row)] * searched)
        rows += _compared(table, row, figures, len(head))
    return rows


def _validation(row: Row) -> str:
    values = [
        r['metrics']['val'][r['metric']]
        for r in row.all()
        if r['metrics']['val'] and r['metric'] in r['metrics']['val']
    ]
    return spread(values) if values else MISSING


def _settings(row: Row) -> str:
    settings = row.all()[0]['settings']
    return ', '.join(f'{k.split(".")[-1]}={v}' for k, v in settings.items()) or MISSING


def _compared(
    table: Table, row: Row, figures: Mapping[str, float], width: int
) -> list[list[str]]:
    """Return the lines of the published figures and of the difference."""
    paper = published(row.method, row.backbone)
    columns = table.columns
    if paper is None or not set(columns) & set(paper.values):
        return []
    lead = width - len(columns)
    stated = [paper.values.get(column) for column in columns]
    blank = [''] * (lead - 1)
    return [
        [f'published ({paper.protocol})', *blank]
        + [MISSING if v is None else f'{v:.1f}' for v in stated],
        ['difference', *blank]
        + [
            MISSING if v is None or c not in figures else f'{figures[c] - v:+.1f}'
            for c, v in zip(columns, stated)
        ],
    ]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table, the first as its head."""
    rows = [[cell.replace('|', '\\|') for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        '| ' + ' | '.join(cell.ljust(w) for cell, w in zip(row, widths)) + ' |'
        for row in rows
    ]
    lines.insert(1, '|' + '|'.join('-' * (w + 2) for w in widths) + '|')
    return '\n'.join(lines) + '\n'


_LATEX = {'&': r'\&', '%': r'\%', '_': r'\_', '#': r'\#', '±': r'$\pm$', MISSING: '--'}


def latex(rows: Sequence[Sequence[str]], caption: str) -> str:
    """Return rows as a LaTeX table that needs the package booktabs."""

    def line(row: Sequence[str]) -> str:
        cells = (''.join(_LATEX.get(char, char) for char in cell) for cell in row)
        return ' & '.join(cells) + r' \\'

    body = '\n'.join(line(row) for row in rows[1:])
    escaped = ''.join(_LATEX.get(char, char) for char in caption)
    return (
        '\\begin{table}\n\\centering\n'
        f'\\caption{{{escaped}}}\n'
        f'\\begin{{tabular}}{{l{"r" * (len(rows[0]) - 1)}}}\n\\toprule\n'
        f'{line(rows[0])}\n\\midrule\n{body}\n\\bottomrule\n'
        '\\end{tabular}\n\\end{table}\n'
    )


def as_csv(tables: Sequence[Table]) -> str:
    """Return all figures, one line for each method and column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(
        'suite,protocol,label,method,backbone,column,metric,seeds,mean,std,'
        'tuned_parameters,published,difference,published_protocol,source'.split(',')
    )
    for table in tables:
        for row in table.rows:
            paper = published(row.method, row.backbone) or Figures({}, '', '')
            figures = table.figures(row)
            for column in table.columns:
                values = row.values(column)
                mean, stated = figures.get(column), paper.values.get(column)
                gap = None if mean is None or stated is None else mean - stated
                writer.writerow(
                    [
                        *(table.suite, table.protocol['name'], table.protocol['label']),
                        *(row.method, row.backbone, column, table.metric),
                        len(values) or '',
                        _rounded(mean),
                        _rounded(statistics.stdev(values) if len(values) > 1 else None),
                        f'{row.tuned():.0f}',
                        *(_rounded(stated), _rounded(gap)),
                        *((paper.protocol, paper.source) if stated else ('', '')),
                    ]
                )
    return text.getvalue()


def _rounded(value: float | None) -> str:
    return '' if value is None else f'{value:.4f}'
