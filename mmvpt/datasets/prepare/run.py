# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prepare one task: read a source, write the task's folder."""

from __future__ import annotations

import os
from pathlib import Path

from .layouts import plan
from .parsers.dump import is_dump, parse_dump
from .parsers.tfds import is_tfds, parse_tfds
from .parsers.vpt_json import has_json, parse_json
from .parsers.vtab_json import apply_lists
from .source import Source
from .task import Pools, RefusedError, Task, as_published
from .writer import Workplace, write


def prepare(
    task: Task,
    source: str | os.PathLike,
    out: str | os.PathLike = 'data',
    splits: str | os.PathLike | None = None,
    *,
    allow_counts: bool = False,
    allow_duplicates: bool = False,
    quiet: bool = False,
) -> tuple[Path, dict]:
    """Write a task's folder from what the user has.

    The folder appears by one rename when everything in it is complete and checked. The
    source is only read. A run that was killed is continued by the same command.

    Args:
        task: One of ``TASKS``.
        source: A folder or an archive, see ``Task.wants``.
        out: Folder of all data; the task is written to ``out/task.folder``.
        splits: Published splits: VPT's folder of json files for FGVC, or its
            ``vtab_trainval_splits.json``, or TFDS's lists for SUN397.
        allow_counts: Accept splits of another size than the published ones.
        allow_duplicates: Accept equal images in different splits.
        quiet: Print no progress.

    Returns:
        The folder and the content of its origin file.

    Raises:
        RefusedError: If the output exists, or the source is incomplete, broken or not
            to be trusted. Nothing is left behind then.
    """
    target = Path(out).expanduser() / task.folder
    if target.exists():
        raise RefusedError(
            f'{target} exists already; nothing is overwritten. Remove it, or give '
            'another --out.'
        )
    work = Workplace(target)
    inside = Path(source).expanduser().resolve()
    if inside.is_dir() and inside in [*work.folder.resolve().parents]:
        raise RefusedError(
            f'The output {target} lies in the source {inside}, which is never written '
            'to. Give another --out.'
        )
    try:
        view = Source(source, task.archives, work.scratch, splits)
        work.resume(f'{view.fingerprint} {task.name} {task.num_classes}')
        problem = f'{task.name}: the annotations are not in the published format'
        with as_published(problem, remedy=f'Expected: {task.wants}.'):
            pools = parse(task, view)
        todo = plan(task, pools, counted=not allow_counts)
        origin = write(todo, task, work, allow_duplicates, quiet)
        work.finish()
    except (RefusedError, ImportError):
        work.remove()
        raise
    return target, origin


def parse(task: Task, source: Source) -> Pools:
    """Parse a source: a community dump, a TFDS folder, VPT's json, or raw data."""
    if task.layout == 'fgvc' and has_json(source):
        return parse_json(task, source)
    if task.layout == 'vtab-1k' and is_dump(task, source):
        _refuse_splits(source, 'the dump has its own lists')
        return parse_dump(task, source)
    if task.layout == 'vtab-1k' and is_tfds(task, source):
        _refuse_splits(source, 'the stored order is that of the published lists')
        return parse_tfds(task, source)
    if task.layout != 'vtab-1k':
        _refuse_splits(source, f'the splits of {task.name} come with its data')
        return task.parse(source, task)
    return apply_lists(task, task.parse(source, task), source)


def _refuse_splits(source: Source, why: str) -> None:
    if source.splits is not None:
        raise RefusedError(f'--splits is of no use here: {why}. Leave it out.')
