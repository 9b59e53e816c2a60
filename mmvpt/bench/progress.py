# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What a session prints: steps, trials, its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .strategies import Outcome, curve

if TYPE_CHECKING:
    from .scheduler import Source


class Tally:
    """What a session has done, and what is left of it.

    Args:
        workers: How many jobs run side by side.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.sources: list[Source] = []  # those whose jobs count

    def left(self) -> str:
        """Return ', about 23 min left'; '' at the end, or if no time is known.

        A source of which no job has ended counts with the mean of all others.
        """
        known = [s for source in self.sources for s in source.seconds]
        total = 0.0
        for source in self.sources:
            if not source.over and known:
                mean = _mean(source.seconds or known)
                total += mean * (source.total - source.done)
        return f', about {_duration(total / self.workers)} left' if total else ''


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


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


def preview(
    rows: Sequence[tuple[str, int, float | None]], workers: int
) -> tuple[str, float]:
    """Return what a session will cost, as text and in seconds.

    Args:
        rows: Name, number of trainings and seconds of one, None if unknown.
        workers: How many run side by side.
    """
    lines, total = [], 0.0
    for name, count, seconds in rows:
        if seconds is None:
            lines.append(f'    {name}: {count} trainings, their length is unknown')
            continue
        total += count * seconds
        lines.append(f'    {name}: {count} trainings of about {seconds:.0f} s')
    total /= workers
    lines.append(
        f'    about {_duration(total)} with {workers} workers, and more for validation '
        'and tests'
    )
    return '\n'.join(lines), total


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f'{seconds:.0f} s'
    if seconds < 5400:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / 3600:.1f} h'


def show_curve(outcomes: Mapping[int, Outcome]) -> str:
    """Return the best value against the cost, where it rose."""
    points = curve(outcomes)
    rises = [p for i, p in enumerate(points) if i == 0 or p[1] > points[i - 1][1]]
    return ', '.join(f'{value:.2f} after {cost:g}' for cost, value in rises)
