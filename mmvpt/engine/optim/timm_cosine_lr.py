# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The learning rate schedule of DA-VPT's released code."""

from __future__ import annotations

import math
from typing import Any

from mmvpt.errors import UserError
from mmvpt.registry import PARAM_SCHEDULERS

from .warmup_cosine_lr import WarmupCosineLR


@PARAM_SCHEDULERS.register_module()
class TimmCosineLR(WarmupCosineLR):
    r"""Linear warm-up, then the cosine where it would be without a warm-up.

    With :math:`W` warm-up steps of :math:`E`, step :math:`t = 0 \dots E-1` has

    .. math::
        \eta(t) = \eta_w + (\eta - \eta_w)\, t / W \;\; (t < W), \qquad
        \eta(t) = \eta_{min} + \tfrac12 (\eta - \eta_{min})
        (1 + \cos \pi \tfrac{t}{E}) \;\; (t \ge W)

    so that the learning rate drops a little at the end of the warm-up, by 2.4 % for 10
    of 100 epochs. mmengine's schedulers multiply and cannot say that.

    Source: `timm's cosine scheduler
    <https://timm.fast.ai/SGDR>`_ with its defaults, as DA-VPT's released code uses it.

    Args:
        optimizer: The optimizer or its wrapper.
        warmup: Warm-up steps W.
        warmup_lr: Learning rate of the first step.
        eta_min: Learning rate that the cosine ends at.
        **kwargs: As in :class:`WarmupCosineLR`.

    Raises:
        UserError: If a number is negative.
    """

    def __init__(
        self,
        optimizer: Any,
        warmup: int = 10,
        warmup_lr: float = 1e-8,
        eta_min: float = 1e-9,
        **kwargs: Any,
    ) -> None:
        if min(warmup_lr, eta_min) < 0:
            raise UserError(
                'warmup_lr and eta_min must not be negative, got '
                f'{warmup_lr!r} and {eta_min!r}'
            )
        self.warmup_lr = warmup_lr
        self.eta_min = eta_min
        super().__init__(optimizer, warmup, **kwargs)

    def _get_value(self) -> list[float]:
        t = self.last_step
        if t < self.warmup:
            low, share = self.warmup_lr, t / self.warmup
        else:
            share = 0.5 * (1 + math.cos(math.pi * t / (self.end - self.begin)))
            low = self.eta_min
        return [low + (value - low) * share for value in self.base_values]
