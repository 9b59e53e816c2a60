# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Mixed precision where mmengine has none: on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from mmvpt.errors import one_of
from mmvpt.models.precision import warn_of_slow_bfloat16
from mmvpt.registry import OPTIM_WRAPPERS

_DTYPES = ('bfloat16', 'float16')


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass under ``torch.autocast``, without loss scaling.

    For bfloat16, whose range is that of float32, on any device; mmengine's
    ``AmpOptimWrapper`` refuses the CPU.

    Args:
        dtype: ``'bfloat16'``, or ``'float16'`` where the device has it.
        **kwargs: Arguments of mmengine's ``OptimWrapper``.

    Raises:
        UserError: If ``dtype`` is something else.
    """

    def __init__(self, dtype: str = 'bfloat16', **kwargs: Any) -> None:
        one_of('dtype', dtype, _DTYPES)
        super().__init__(**kwargs)
        self.cast_dtype = getattr(torch, dtype)
        warn_of_slow_bfloat16(self.cast_dtype)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast, and what gradient accumulation needs."""
        device = get_device()
        with super().optim_context(model), torch.autocast(device, self.cast_dtype):
            yield
