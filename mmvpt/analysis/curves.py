# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Training curves from the logs of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmvpt.errors import MissingFileError, UserError

_FILE = 'scalars.json'
_AXES = ('step', 'epoch', 'iter')


@dataclass(frozen=True)
class Curve:
    """One logged value over time.

    Args:
        steps: (S,), ascending.
        values: (S,).
        unit: What steps count, ``epoch`` or ``iteration``.
        seconds: (S,), training until each step, without validation and checkpoints;
            None if the run logged no times.
    """

    steps: np.ndarray
    values: np.ndarray
    unit: str
    seconds: np.ndarray | None = None


def read_curves(work_dir: str | Path) -> dict[str, Curve]:
    """Read all scalars that a run logged through mmengine's ``LocalVisBackend``.

    A work dir may hold several logs, of a run that was resumed or begun again. Where
    they overlap, the later one counts.

    Args:
        work_dir: Work dir of a run, or a folder in it.

    Returns:
        Curves by name, in the order in which they were first logged.

    Raises:
        MissingFileError: If there is no log.
        UserError: If the logs are empty or a line is not JSON.
    """
    files = sorted(Path(work_dir).rglob(_FILE))
    if not files:
        raise MissingFileError(
            f'no {_FILE} in {str(work_dir)!r}: give the work dir of a run whose '
            "visualizer has dict(type='LocalVisBackend')."
        )
    merged: dict[str, dict[int, float]] = {}
    units: dict[str, str] = {}
    ends: dict[int, int] = {}  # the last iteration of each epoch
    for file in files:
        rows = _rows(file)
        by_epoch = any('epoch' in row for row in rows)
        found: dict[str, dict[int, float]] = {}
        for row in rows:
            # Validation is logged without `iter` but with its time, over epochs if
            # training counts epochs; scalars of hooks without either.
            validation = 'iter' not in row and 'time' in row
            if 'epoch' in row and 'iter' in row:
                ends[row['epoch']] = row['step']
            unit = 'epoch' if validation and by_epoch else 'iteration'
            for name, value in row.items():
                if name not in _AXES and isinstance(value, (int, float)):
                    curve = f'val/{name}' if validation and name in _TIMES else name
                    found.setdefault(curve, {})[row['step']] = value
                    units[curve] = unit
        for name, points in found.items():
            begin = min(points)
            old = {s: v for s, v in merged.get(name, {}).items() if s < begin}
            merged[name] = {**old, **points}
    if not merged:
        raise UserError(
            f'{files[0]} holds no scalars: the run ended before it logged anything. '
            'Lower default_hooks.logger.interval or train longer.'
        )
    curves = {}
    for name, points in merged.items():
        steps = np.array(sorted(points))
        values = np.array([points[step] for step in steps], dtype=float)
        curves[name] = Curve(steps, values, units[name])
    return {name: _timed(curve, curves, ends) for name, curve in curves.items()}


_TIMES = ('time', 'data_time', 'memory')


def _timed(curve: Curve, curves: Mapping[str, Curve], ends: Mapping[int, int]) -> Curve:
    """Add the seconds; a logged time is that of each iteration since the last one."""
    times = curves.get('time')
    if times is None or (curve.unit == 'epoch' and not ends.keys() >= {*curve.steps}):
        return curve
    steps = (
        [ends[step] for step in curve.steps] if curve.unit == 'epoch' else curve.steps
    )
    counts = np.diff(times.steps, prepend=0)
    seconds = np.cumsum(counts * times.values)
    return replace(curve, seconds=np.interp(steps, [0, *times.steps], [0.0, *seconds]))


def _rows(file: Path) -> list[dict]:
    rows = []
    lines = file.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            row['step']
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):  # the run was killed while it wrote
                break
            raise UserError(
                f'{file}, line {number} is no row of scalars: {line[:60]!r}. Remove '
                'it, or give another run.'
            ) from error
        rows.append(row)
    return rows
