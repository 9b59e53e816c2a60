# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Records to tables, and what of them does not fit together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from mmvpt.zoo.tables import TASKS

from . import comparable
from .suites import ZOO
from .tables import TASKS_OF, Row, Table

#: Packages of which different versions in one table are noticed.
PACKAGES = ('torch', 'mmengine', 'mmpretrain', 'mmsegmentation')


def collect(records: Iterable[dict]) -> tuple[list[Table], list[str]]:
    """Arrange the records of final runs.

    Returns:
        The tables, and notices of what does not fit together.
    """
    runs: dict[tuple, dict] = {}
    notices = []
    for record in records:
        if record['kind'] != 'run':
            continue
        key = (
            record['suite'],
            record['protocol']['name'],
            record['method'],
            record['backbone'],
            record['task'],
            record['seed'],
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
        notices += [f'{table.title}: {line}' for line in _oddities(table)]
    return made, notices


def _table(suite: str, records: Sequence[dict]) -> Table:
    rows: dict[tuple[str, str], Row] = {}
    for record in sorted(records, key=lambda r: r['seed']):
        key = record['method'], record['backbone']
        row = rows.setdefault(key, Row(*key))
        row.records.setdefault(record['task'], []).append(record)
    ordered = sorted(rows.values(), key=lambda row: (row.backbone, row.tuned()))
    groups = _groups(suite, {record['task']: record['group'] for record in records})
    return Table(suite, records[0]['protocol'], groups, ordered, records[0]['metric'])


def _groups(suite: str, found: dict[str, str]) -> dict[str, str]:
    """Return the group of each task of a table, in the order of its columns.

    A task of which every run failed has no record. The suites of the zoo take their
    columns from the list of its tasks, so that it is shown as missing. Records of
    ``vtab-natural`` call their suite ``vtab``, as those of all of VTAB-1k do: with
    records of one group alone the columns are those of that group; with more groups
    they are all 19 tasks.

    Args:
        suite: The suite's name.
        found: The group of each task that has a record.
    """
    known = ZOO.get(suite, ())
    if known and set(found) <= {task for group in known for task in TASKS_OF[group]}:
        groups = {TASKS[task].group for task in found}
        shown = groups if len(groups) == 1 else known
        return {task: g for g in known if g in shown for task in TASKS_OF[g]}
    order = list(TASKS)
    ordered = sorted(found, key=lambda t: (order.index(t) if t in order else 99, t))
    return {task: found[task] for task in ordered}


def _oddities(table: Table) -> Iterator[str]:
    recorded = {task for row in table.rows for task in row.records}
    if absent := [task for task in table.tasks if task not in recorded]:
        yield f'no record of {", ".join(absent)}'
    for row in table.rows:
        yield from _seeds(table.name(row), row)
    runs = [(table.name(row), record) for row in table.rows for record in row.all()]
    yield from _other_images(runs)
    yield from _mixed('code', [(name, _code(r['code'])) for name, r in runs])
    for package in PACKAGES:
        versions = [(n, r['code']['packages'].get(package, 'none')) for n, r in runs]
        yield from _mixed(package, versions)


def _seeds(name: str, row: Row) -> Iterator[str]:
    """Name cells whose seeds differ in more than the seed, or are too few."""
    found: dict[str, list[str]] = {}
    for task, records in row.records.items():
        for what, value in (
            ('settings', lambda r: r['settings']),
            ('checkpoints', lambda r: r['protocol']['checkpoint']['sha256']),
        ):
            if any(value(record) != value(records[0]) for record in records):
                found.setdefault(f'the seeds differ in their {what}', []).append(task)
        planned = {seed for r in records for seed in r['protocol']['seeds']}
        if missing := planned - {record['seed'] for record in records}:
            found.setdefault(f'seeds {sorted(missing)} are missing', []).append(task)
    for what, tasks in found.items():
        yield f'{name} on {", ".join(tasks)}: {what}'


def _other_images(runs: Sequence[tuple[str, dict]]) -> Iterator[str]:
    """Say where rows were tested on different images with the same seed.

    Suites may draw images by seed, so that seeds may differ.
    """
    cells: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for name, record in runs:
        part = record['data']['test']
        digest = part['sha256'][:12] if part else 'unknown'
        cells.setdefault((record['task'], record['seed']), []).append((name, digest))
    yield from dict.fromkeys(
        line
        for (task, _), cell in cells.items()
        for line in _mixed(f"digest of {task}'s test images", cell)
    )


def _mixed(what: str, found: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Say where rows, by name, differ in what should be the same in a table."""
    names: dict[str, dict[str, None]] = {}
    for name, value in found:
        names.setdefault(value, {})[name] = None
    (most, _), *others = Counter(value for _, value in found).most_common()
    if others:
        exceptions = '; '.join(f'{v} in {", ".join(names[v])}' for v, _ in others)
        yield f'{what} differs between runs: mostly {most}, but {exceptions}'


def _code(code: dict) -> str:
    commit = (code['commit'] or 'unknown')[:10]
    return f'{code["version"]} {commit}' + (' changed' if code['modified'] else '')
