# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What goes to the terminal, how far it is and what it will cost among it."""

from __future__ import annotations

import statistics
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmvpt.display import redirected
from mmvpt.errors import UserError

if TYPE_CHECKING:
    from .scheduler import Source


def say(text: str) -> None:
    """Print a step."""
    print(f'==> {text}', flush=True)


def detail(text: str) -> None:
    """Print something that happened within a step."""
    print(f'    {text}', flush=True)


@contextmanager
def console(work_dir: Path) -> Iterator[None]:
    """Send what the process prints to ``console.log`` in ``work_dir``.

    Raises:
        UserError: Instead of what was raised inside, with the path of the output.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    path = work_dir / 'console.log'
    try:
        with redirected(path):
            try:
                yield
            except (Exception, SystemExit):
                traceback.print_exc()
                raise
    except (Exception, SystemExit) as error:
        raise UserError(f'{reason(error)}\nThe whole output is in {path}') from error


def reason(error: BaseException) -> str:
    """Say why something ended, never with nothing."""
    if isinstance(error, SystemExit) and not isinstance(error.code, str):
        return f'it ended itself with status {error.code}'
    return str(error) or type(error).__name__


def time_left(sources: Sequence[Source], workers: int) -> str:
    """Return ', about 23 min left'; '' at the end, or if no time is known.

    Args:
        sources: A source of which no job has ended counts with the mean of all others.
        workers: How many jobs run side by side.
    """
    known = [seconds for source in sources for seconds in source.seconds]
    total = sum(
        statistics.fmean(source.seconds or known) * (source.total - source.done)
        for source in sources
        if known and not source.over
    )
    return f', about {_duration(total / workers)} left' if total else ''


def place(done: int, total: int) -> str:
    """Return '[ 1/12]'."""
    return f'[{done:{len(str(total))}}/{total}]'


def show_settings(overrides: Mapping[str, Any]) -> str:
    """Return settings for readers, such as 'lr=0.01414, num_tokens=10'.

    Args:
        overrides: What changes in a config. Of a dotted key the last part is shown, of
            a float 4 digits.
    """
    return ', '.join(f'{k.split(".")[-1]}={_short(v)}' for k, v in overrides.items())


def _short(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(_short(item) for item in value)}]'
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def show_costs(rows: Sequence[tuple[str, int, float | None]], workers: int) -> str:
    """Return what a command will cost.

    Args:
        rows: Name, number of trainings and seconds of one, None if unknown.
        workers: How many run side by side.
    """
    lines = [
        f'    {name}: {count} trainings'
        + (', their length is unknown' if s is None else f' of about {s:.0f} s')
        for name, count, s in rows
    ]
    total = sum(count * (seconds or 0) for _, count, seconds in rows) / workers
    lines.append(
        f'    about {_duration(total)} with {workers} workers, and more for validation '
        'and tests'
    )
    return '\n'.join(lines)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f'{seconds:.0f} s'
    if seconds < 5400:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / 3600:.1f} h'
