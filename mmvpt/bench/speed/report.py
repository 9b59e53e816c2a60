# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Medians, least values, ratios and the table of a benchmark run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial

from mmvpt.display import markdown

MEBI = 2**20
TOO_LARGE = 'out of memory'


def add_ratios(rows: dict[str, dict], references: Sequence[str]) -> None:
    """Add to each row its medians, least values and ratios."""
    for name, row in rows.items():
        for clock, values in row.get('seconds', {}).items():
            row[clock] = dict(median=statistics.median(values), least=min(values))
        row['ratios'] = {}
        others = {'full-token': f'{name}/full-token', **{n: n for n in references}}
        for label, other in others.items():
            if other in rows and other != name:
                row['ratios'][label] = ratios(row, rows[other])


def ratios(row: dict, other: dict) -> dict:
    """Return the ratios of one subject to another.

    The median ratio of times is that of the ratios within each round, where both met
    the same load; the least one is that of the least values.
    """
    found = {}
    if 'operations' in row:
        found['operations'] = row['operations'] / other['operations']
    timed = 'seconds' in row and 'seconds' in other
    for clock, values in row['seconds'].items() if timed else ():
        theirs = other['seconds'][clock]
        found[clock] = dict(
            median=statistics.median(a / b for a, b in zip(values, theirs)),
            least=min(values) / min(theirs),
        )
    if 'memory' in row and 'memory' in other:
        found['memory'] = net(row['memory']) / net(other['memory'])
        for key in ('allocated', 'kept'):
            if key in row['memory'] and other['memory'].get(key):
                found[key] = row['memory'][key] / other['memory'][key]
    return found


def net(memory: dict[str, int]) -> int:
    """Return peak memory without what the interpreter and its imports hold."""
    return memory['peak'] - memory.get('before', 0)


def page(result: dict) -> str:
    """Return the report as Markdown."""
    machine = result['machine']
    versions = ', '.join(f'{k} {v}' for k, v in machine['versions'].items())
    loads = ' to '.join(f'{result[k][0]:.1f}' for k in ('load_before', 'load_after'))
    gpu = f'{machine["gpu"]}; ' if machine['gpu'] else ''
    lines = [
        f'`{result["command"]}`',
        '',
        f'{result["date"]}. {gpu}{machine["processor"]}, {machine["cores"]} cores, '
        f'{machine["instructions"]}, {machine["memory_gib"]} GiB, {machine["system"]}. '
        f'Load over one minute {loads}. {versions}.',
    ]
    for group in result['groups']:
        lines += ['', *group_table(group)]
    return '\n'.join(lines) + '\n'


def group_table(group: dict) -> list[str]:
    """Return the lines of one group: what it is, the table, how equal they are."""
    setting, rows = group['setting'], group['rows']
    labels = list(dict.fromkeys(label for row in rows for label in row['ratios']))
    columns: dict[str, Callable[[dict], str]] = {'subject': lambda row: row['subject']}
    timed = any('seconds' in row for row in rows)
    if 'operations' in rows[0]:
        columns['GFLOP'] = lambda row: f'{row["operations"] / 1e9:.1f}'
    if timed:
        for clock in ('wall', 'processor'):
            columns[f'{clock} ms'] = partial(seconds, clock=clock)
    if any('memory' in row for row in rows):
        columns['peak MiB'] = lambda row: (
            f'{net(row["memory"]) / MEBI:.0f}' if 'memory' in row else TOO_LARGE
        )
    for key in ('allocated', 'kept'):
        if any(key in row.get('memory', ()) for row in rows):
            columns[f'{key} MiB'] = partial(mebibytes, key=key)
    for label in labels:
        for key in ('operations', 'wall', 'processor', 'memory', 'allocated', 'kept'):
            if any(key in row['ratios'].get(label, ()) for row in rows):
                columns[f'{key} / {label}'] = partial(ratio, label=label, key=key)
    body = [[cell(row) for cell in columns.values()] for row in rows]
    lines = [
        f'**{setting["mode"]}**, {setting["arch"]}, {setting["image_size"]} pixels, '
        f'B = {setting["batch_size"]}, M = {setting["num_tokens"]}, '
        f'{setting["dtype"]}, {setting["device"]}, threads: {setting["threads"]}, '
        f'dropout of prompts {setting["drop_rate"]}, {setting["optimizer"]}, '
        f'recomputed: {setting["with_cp"]}, attention: {setting["attention"]}'
        f'{", compiled" * setting["compiled"]}; load {group["load"][0]:.1f}',
        '',
        markdown([[*columns], *body]).rstrip(),
    ]
    if timed:
        lines += ['', 'Times and their ratios: median (least).']
    if group['too_large']:
        lines += [
            '',
            f'No memory beside the others: {", ".join(group["too_large"])}. Time fewer '
            'subjects at once (--methods, --against) or a smaller batch.',
        ]
    if group['checks']:
        most = max(max(found.values()) for found in group['checks'].values())
        lines += ['', f'Full-token ways compute the same to {most:.0e}, relative.']
    return lines


def mebibytes(row: dict, key: str) -> str:
    """Format a figure of memory of a row, in MiB."""
    return f'{row["memory"][key] / MEBI:.0f}' if 'memory' in row else TOO_LARGE


def seconds(row: dict, clock: str) -> str:
    """Format the milliseconds of a row by one clock."""
    return pair(row[clock], 1e3, 1) if clock in row else TOO_LARGE


def ratio(row: dict, label: str, key: str) -> str:
    """Format one ratio of a row, or nothing where there is none."""
    value = row['ratios'].get(label, {}).get(key)
    if value is None:
        return ''
    return pair(value, 1, 3) if isinstance(value, dict) else f'{value:.3f}'


def pair(value: dict[str, float], factor: float, digits: int) -> str:
    """Format a median and, in brackets, the least value."""
    median, least = (factor * value[key] for key in ('median', 'least'))
    return f'{median:.{digits}f} ({least:.{digits}f})'
