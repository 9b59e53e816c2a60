# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The learning rate schedule of VPT."""

from __future__ import annotations

import math
from typing import Any

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from mmvpt.errors import UserError
from mmvpt.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    r"""Linear warm-up from exactly zero, then half a cosine to zero.

    With :math:`W` warm-up steps of :math:`E`, the learning rate in step
    :math:`t = 0 \dots E-1` is the configured one times

    .. math::
        f(t) = t / W \;\; (t < W), \qquad
        f(t) = \tfrac12 \left(1 + \cos \pi \tfrac{t - W}{E - W}\right)
        \;\; (t \ge W).

    So the first step trains nothing. mmengine's ``LinearLR`` cannot start at zero, and
    reaches one a step earlier.

    Source: `VPT <https://arxiv.org/abs/2203.12119>`_, stepped once per epoch as in the
    released code.

    Args:
        optimizer: The optimizer or its wrapper.
        warmup: Warm-up steps W.
        **kwargs: ``begin``, ``end`` (E, by default the length of the training),
            ``by_epoch``, ``last_step`` and ``verbose`` as in mmengine.

    Raises:
        UserError: If ``warmup`` is negative.
    """

    def __init__(self, optimizer: Any, warmup: int = 10, **kwargs: Any) -> None:
        if warmup < 0:
            raise UserError(f'warmup must not be negative, got {warmup}')
        self.warmup = warmup
        super().__init__(optimizer, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: Any,
        warmup: int = 10,
        begin: int = 0,
        end: int,
        by_epoch: bool = True,
        epoch_length: int,
        **kwargs: Any,
    ) -> WarmupCosineLR:
        """Build it with steps of iterations from a config in epochs."""
        if not by_epoch:
            raise UserError('convert_to_iter_based needs by_epoch=True')
        kwargs.update(
            warmup=warmup * epoch_length,
            begin=begin * epoch_length,
            end=end * epoch_length,
            by_epoch=False,
        )
        return cls(*args, **kwargs)

    def factor(self, step: int) -> float:
        """Return f(t)."""
        if step < self.warmup:
            return step / self.warmup
        span = self.end - self.begin - self.warmup
        return 0.5 * (1 + math.cos(math.pi * (step - self.warmup) / span))

    def _get_value(self) -> list[float]:
        factor = self.factor(self.last_step)
        return [value * factor for value in self.base_values]
