# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What an epoch takes beside the steps of its model."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmvpt.engine.run import train

from . import measure


def measure_epochs(
    config: str | os.PathLike,
    *,
    cfg_options: Mapping[str, Any] | None = None,
    epochs: int = 5,
    threads: int = 1,
    work_dir: str = 'work_dirs/benchmark/epoch',
) -> list[float]:
    """Train, and take the time of epochs and of the steps within.

    Args:
        config: Config file.
        cfg_options: Changes to it, by dotted key.
        epochs: How many count; one before them does not.
        threads: Threads of PyTorch.
        work_dir: Folder of the training.

    Returns:
        By epoch, its time divided by that of the model's own steps.
    """
    torch.set_num_threads(threads)
    options = {**(cfg_options or {}), 'train_cfg.max_epochs': 1 + epochs}
    clock = _Clock()
    train(
        config,
        cfg_options=options,
        overwrite=True,
        validate=False,
        work_dir=work_dir,
        built=clock.join,
    )
    whole, own = zip(*clock.seconds[1:])
    ratios = [a / b for a, b in zip(whole, own)]
    print(
        f'an epoch takes {statistics.median(whole):.3f} s{clock.kind}, its steps '
        f'{statistics.median(own):.3f} s: {statistics.median(ratios):.3f} '
        f'({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} epochs)'
    )
    return ratios


class _Clock(Hook):
    """Takes the time of epochs, and of the steps within: no loader, hooks and loop."""

    priority = 'LOWEST'

    def join(self, runner: Runner) -> None:
        """Start with the runner."""
        model = runner.model
        self.device = next(model.parameters()).device.type
        workers = runner.train_loop.dataloader.num_workers
        here = measure.clock_of(self.device, workers) == 'processor'
        self.now = time.process_time if here else time.perf_counter
        self.kind = ' of the processor' * here
        self.seconds: list[tuple[float, float]] = []
        preprocessor = model.data_preprocessor
        preprocessor.forward = self.counted(preprocessor.forward, -1)  # a part of it
        model.train_step = self.counted(model.train_step, 1)
        first = Hook()
        first.before_train_epoch = self.start
        runner.register_hook(first, 'HIGHEST')
        runner.register_hook(self)

    def counted(self, function: Callable, sign: int) -> Callable:
        """Let a function add its time to that of the steps, or take it off."""

        def call(*args: Any, **kwargs: Any) -> Any:
            began = self.now()
            result = function(*args, **kwargs)
            measure.synchronize(self.device)
            self.own += sign * (self.now() - began)
            return result

        return call

    def start(self, runner: Runner) -> None:
        """Begin an epoch."""
        self.own, self.began = 0.0, self.now()

    def after_train_epoch(self, runner: Runner) -> None:
        """End an epoch."""
        self.seconds.append((self.now() - self.began, self.own))
