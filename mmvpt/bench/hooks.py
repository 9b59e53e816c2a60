# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Hooks of single runs: watch validations, stop trials, measure."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

_PROCESS = Path('/proc/self')


class ValidationHook(Hook):
    """Keep the validations, and end the training where one is below a threshold.

    Args:
        metric: Which metric, as validations name it.
        thresholds: Step (epoch or iteration) -> value that is needed to go on.
    """

    def __init__(self, metric: str, thresholds: Mapping[int, float]) -> None:
        self.metric = metric
        self.thresholds = {int(step): value for step, value in thresholds.items()}
        self.steps: dict[int, float] = {}
        self.seen: list[str] = []
        self.stopped = False
        self.cost = 0.0

    @property
    def last(self) -> float | None:
        """The last validation."""
        return next(reversed(self.steps.values()), None)

    @staticmethod
    def _by_epoch(runner: Runner) -> bool:
        return bool(getattr(runner.train_loop, 'max_epochs', 0)) and not (
            runner.cfg.train_cfg.get('max_iters')
        )

    def _position(self, runner: Runner) -> int:
        return runner.epoch if self._by_epoch(runner) else runner.iter

    def after_train_epoch(self, runner: Runner) -> None:
        """Count what was trained; a diverging run ends before its validation."""
        self.cost = float(self._position(runner) + self._by_epoch(runner))

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Keep the metric and compare it."""
        metrics = metrics or {}
        self.seen = sorted(metrics)
        if self.metric not in metrics:
            return
        step = self._position(runner)
        self.cost = float(step)
        self.steps[step] = float(metrics[self.metric])
        if self.steps[step] < self.thresholds.get(step, float('-inf')):
            self.stopped = True
            runner.train_loop.stop_training = True


class MeasuringHook(Hook):
    """Measure a training in all its parts, if it is interrupted and resumed.

    Checkpoints carry what was measured until then; what an interruption undid does not
    count.
    """

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._seconds = 0.0
        self._peak = 0
        reset_peak_memory()

    def measured(self) -> dict[str, Any]:
        """Return ``seconds`` and ``peak_memory`` (None if unknown) until now."""
        peak = peak_memory()
        return dict(
            seconds=self._seconds + time.monotonic() - self._start,
            peak_memory=None if peak is None else max(peak, self._peak),
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note what was measured."""
        checkpoint['meta']['measured'] = self.measured()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Go on from what was measured."""
        earlier = checkpoint['meta']['measured']
        self._seconds = earlier['seconds']
        self._peak = earlier['peak_memory'] or 0


def reset_peak_memory() -> None:
    """Forget the peak so far."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(OSError):  # peak_memory() then covers the whole life of the process
        (_PROCESS / 'clear_refs').write_text('5')  # resets VmHWM, see man proc


def peak_memory() -> int | None:
    """Return the peak in bytes: of the GPU, else of the process; None if unknown."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resident('VmHWM')


def resident(field: str) -> int | None:
    """Read a size from Linux's account of this process, in bytes; None elsewhere.

    Not from ``getrusage``, whose maximum includes the process that started this one.

    Args:
        field: ``VmRSS`` for now, ``VmHWM`` for the most so far.
    """
    try:
        status = (_PROCESS / 'status').read_text()
    except OSError:
        return None
    found = re.search(rf'{field}:\s+(\d+) kB', status)
    return int(found[1]) * 1024 if found else None


class Calibrated(Exception):  # noqa: N818  (nothing is wrong)
    """Enough has been timed."""


class CalibrationHook(Hook):
    """Time a few iterations, then end the run.

    Raises:
        Calibrated: When done.
    """

    iterations = 8  # how many, after two that warm up

    def __init__(self) -> None:
        self.times: list[float] = []  # the start of the first one, and all ends
        self.total = 0.0  # what a whole training takes; 0 until it is known

    def before_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Note when the first iteration starts."""
        if not self.times:
            self.times.append(time.monotonic())

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Note when an iteration ends."""
        self.times.append(time.monotonic())
        wanted = min(self.iterations + 2, runner.max_iters)
        if len(self.times) > wanted:
            steps = [b - a for a, b in zip(self.times, self.times[1:])]
            self.total = statistics.median(steps[-self.iterations :]) * runner.max_iters
            raise Calibrated
