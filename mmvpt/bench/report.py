# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Make tables (Markdown, CSV, LaTeX) and plots from records.

One table for each suite and protocol: figures of different protocols do not stand in
one table. Files that are no valid records are named and left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from mmvpt.display import markdown, print_markdown
from mmvpt.errors import UserError

from . import formats, paired, plots, read_records, tables
from .collect import collect


def report(
    paths: Sequence[str | Path],
    out: str | Path | None = None,
    with_plots: bool = True,
    against: Sequence[str] = (),
) -> Path:
    """Write tables and plots of records.

    Args:
        paths: Record files, or folders of a benchmark or search.
        out: Folder; report/ in the first folder by default.
        with_plots: False: tables alone.
        against: Methods; all others are compared with them, seed by seed.

    Returns:
        The folder.

    Raises:
        UserError: If there is not a single valid record, or no method ``against``.
    """
    records, notices = read_records(paths)
    made, odd = collect(records)
    notices += odd
    for notice in notices:
        print(f'report.py: notice: {notice}', file=sys.stderr)
    searches = [record for record in records if record['kind'] == 'search']
    if not records:
        raise UserError(f'no valid record in {", ".join(map(str, paths))}')
    first = Path(paths[0])
    out = Path(out or (first if first.is_dir() else first.parent) / 'report')
    out.mkdir(parents=True, exist_ok=True)
    pictures = draw(made, searches, out) if with_plots else []
    text = page(made, notices, pictures, against)
    (out / 'report.md').write_text(text, encoding='utf-8')
    (out / 'report.csv').write_text(formats.as_csv(made), encoding='utf-8')
    (out / 'report.tex').write_text(
        formats.LATEX_HEAD + '\n'.join(_latex(table) for table in made),
        encoding='utf-8',
    )
    print_markdown(text)
    print(f'{out}: report.md, report.csv, report.tex, {len(pictures)} plots')
    return out


def draw(
    made: Sequence[tables.Table], searches: Sequence[dict], out: Path
) -> list[Path]:
    """Draw all plots and return their paths."""
    found = []
    for table in made:
        name = re.sub(r'\W+', '-', f'{table.suite}_{table.protocol["name"]}')
        found += [
            plots.accuracy_against_parameters(table, out / f'parameters_{name}.png'),
            plots.seeds_of_one_task(table, out / f'seeds_{name}.png')
            if len(table.tasks) == 1
            else plots.group_bars(table, out / f'bars_{name}.png'),
        ]
    found.append(plots.search_history(searches, out / 'search.png'))
    return [path for path in found if path is not None]


def page(
    made: Sequence[tables.Table],
    notices: Sequence[str],
    pictures: Sequence[Path],
    against: Sequence[str] = (),
) -> str:
    """Return the report in Markdown."""
    parts = ['# Results\n']
    if notices:
        parts.append('\n'.join(f'- Notice: {notice}' for notice in notices) + '\n')
    for table in made:
        parts.append(f'## {table.title}\n')
        parts.append(markdown(tables.cells(table)))
        parts.append(_caption(table) + '\n')
        parts += [f'{line}\n' for line in _sources(table)]
        if against:
            parts.append(markdown(paired.cells(table, against)))
            parts.append('Mean of paired differences, 95 % interval over seeds.\n')
    parts += [f'![{path.stem}]({path.name})\n' for path in pictures]
    return '\n'.join(parts)


def _latex(table: tables.Table) -> str:
    caption = ' '.join([f'{table.title}: {_caption(table)}', *_sources(table)])
    return formats.latex(tables.cells(table), caption)


def _caption(table: tables.Table) -> str:
    """Say what stands in a table."""
    protocol = table.protocol
    metric = tables.METRICS.get(table.metric, table.metric)
    what = f'{metric} on test in %, {_seeds(table)}'
    checkpoints = {
        (c['name'], (c['sha256'] or 'unknown')[:12])
        for row in table.rows
        for c in (record['protocol']['checkpoint'] for record in row.all())
        if c['name']
    }
    weights = ', '.join(f'{name} ({digest})' for name, digest in sorted(checkpoints))
    backbones = sorted({row.backbone for row in table.rows} - {''})
    parts = [
        f'{what}; {tables.MISSING} is missing.',
        protocol['label']
        and 'TEST DATA CHOSE THE EPOCH: not comparable with other protocols.',
        protocol['summary'],
        backbones and f'Backbone{"s" * (len(backbones) > 1)}: {", ".join(backbones)}.',
        weights and f'Weights: {weights}.',
    ]
    return ' '.join(part for part in parts if part)


def _seeds(table: tables.Table) -> str:
    counts = sorted({len(r) for row in table.rows for r in row.records.values()})
    planned = len(table.protocol.get('protocol_seeds', ()))
    text = ' or '.join(map(str, counts))
    text += f' of {planned} seeds' if counts[0] < planned else ' seeds'
    if counts[-1] == 1:
        return '1 seed' if text == '1 seeds' else text
    text = f'mean ± sample standard deviation of {text}'
    if len(table.tasks) > 1:
        text += ", for means over tasks that of each seed's mean"
    return text


def _sources(table: tables.Table) -> list[str]:
    names: dict[str, list[str]] = {}
    for row in table.rows:
        if paper := table.published(row):
            names.setdefault(paper.source, []).append(f'{row.method} ({row.backbone})')
    return [f'Published, {", ".join(n)}: {source}.' for source, n in names.items()]
