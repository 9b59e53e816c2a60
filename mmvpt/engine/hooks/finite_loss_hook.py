# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Stop at a loss that is not a number."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmvpt.engine.forward import unwrapped
from mmvpt.errors import NotFiniteError, UserError
from mmvpt.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop training at a NaN or infinite loss, before it reaches a checkpoint.

    Losses stay on their device and are looked at together every ``interval``
    iterations, and always before a checkpoint, a validation and the end of an epoch,
    so that the GPU is not waited for in each iteration. Before a checkpoint the tuned
    parameters are looked at as well: a gradient may overflow under a finite loss.

    Args:
        interval: Iterations between two looks.

    Raises:
        UserError: If ``interval`` is below 1.
        NotFiniteError: While training, if a loss or a tuned parameter is not finite.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise UserError(f'interval must be at least 1, got {interval}')
        self.interval = interval
        self._pending: list[tuple[int, dict[str, Any]]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, *, outputs: dict | None = None, **_: Any
    ) -> None:
        """Note what is named ``*loss*`` in ``outputs``; look from time to time."""
        losses = {
            key: value.detach() if isinstance(value, Tensor) else value
            for key, value in (outputs or {}).items()
            if 'loss' in key
        }
        self._pending.append((runner.iter, losses))
        if self.every_n_train_iters(runner, self.interval):
            self._look(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Look before hooks that save at the end of an epoch."""
        self._look(runner, parameters=True)

    def before_val(self, runner: Runner) -> None:
        """Look before a validation."""
        self._look(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look before any checkpoint, whoever saves it."""
        self._look(runner, parameters=True)

    def _look(self, runner: Runner, parameters: bool = False) -> None:
        pending, self._pending = self._pending, []
        values = [value for _, losses in pending for value in losses.values()]
        tensors = [value for value in values if isinstance(value, Tensor)]
        numbers = [value for value in values if isinstance(value, (int, float))]
        tuned = self._tuned(runner) if parameters else []
        if self._all_finite(tensors + [p for _, p in tuned]) and all(
            map(math.isfinite, numbers)
        ):
            return
        for iteration, losses in pending:
            losses = {key: float(value) for key, value in losses.items()}
            if not all(map(math.isfinite, losses.values())):
                shown = ', '.join(f'{key}={value:g}' for key, value in losses.items())
                what = f'the loss is not finite in iteration {iteration + 1}: {shown}'
                break
        else:
            name = next(n for n, p in tuned if not self._all_finite([p]))
            what = (
                f'the parameter {name} is not finite after iteration '
                f'{runner.iter + 1}, although the loss still is'
            )
        raise NotFiniteError(f'{what}. {self._advice(runner)}')

    @staticmethod
    def _tuned(runner: Runner) -> list[tuple[str, Tensor]]:
        named = unwrapped(runner.model).named_parameters()
        return [(name, p.detach()) for name, p in named if p.requires_grad]

    @staticmethod
    def _all_finite(tensors: list[Tensor]) -> bool:
        """Test all tensors with a single wait for each device."""
        flags: dict[torch.device, list[Tensor]] = {}
        for tensor in tensors:
            flags.setdefault(tensor.device, []).append(tensor.isfinite().all())
        return all(torch.stack(group).all().item() for group in flags.values())

    @staticmethod
    def _advice(runner: Runner) -> str:
        lr = next(iter(runner.optim_wrapper.get_lr().values()))[0]
        file = Path(runner.work_dir) / 'last_checkpoint'
        if file.is_file():
            good = f'The last good checkpoint is {file.read_text().strip()}.'
        else:
            good = 'No checkpoint was saved before.'
        return (
            f'Training stopped, nothing was saved with it. {good} Try a lower learning '
            f'rate (now {lr:g}), a longer warm-up, optim_wrapper.clip_grad='
            'dict(max_norm=1.0), or training without --amp; look for broken images or '
            'labels if it happens again in the same place.'
        )
