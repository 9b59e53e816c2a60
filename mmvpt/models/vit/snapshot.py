# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Whether what was computed from tensors before would come out the same now."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

#: PyTorch before 2.9 has not.
_HAS_FP32_PRECISION = hasattr(torch.backends.cuda.matmul, 'fp32_precision')


class Snapshot:
    """Remembers tensors as they are.

    They count as unchanged while they are the same tensors on the same storage, and
    unchanged by PyTorch's count of in-place operations, which optimizers and
    ``load_state_dict`` go through. Writing through ``.data`` is not counted; mmengine's
    moving averages do so, and call ``eval()`` behind it. Hence whoever keeps a snapshot
    must drop it whenever the backbone's mode is set or its tensors are moved.

    Args:
        tensors: What to remember; see :func:`is_counted`.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors
        # Tensors and storages stay alive, so no other gets their id or address.
        self.storages = [t.detach() for t in tensors]
        self._state = _state(tensors)

    def holds(self, tensors: list[Tensor]) -> bool:
        """Whether ``tensors`` are those remembered, and unchanged."""
        same = len(tensors) == len(self._tensors)
        same = same and all(map(operator.is_, self._tensors, tensors))
        return same and self._state == _state(tensors)


def is_counted(tensors: list[Tensor]) -> bool:
    """Whether PyTorch counts what is done to all of them: made in no inference mode."""
    return not any(t.is_inference() for t in tensors)


def precision_state(device: torch.device) -> tuple[Any, ...]:
    """What decides on the precision of products on ``device``, to be compared later."""
    state = (device.type, *_autocast_state(device), *_float32_state(device))
    if device.type != 'cuda':
        return state
    cuda = torch.backends.cuda.matmul
    return (
        *state,
        cuda.allow_fp16_reduced_precision_reduction,
        cuda.allow_bf16_reduced_precision_reduction,
    )


def _autocast_state(device: torch.device) -> tuple[Any, ...]:
    if hasattr(torch, 'get_autocast_dtype'):
        kind = device.type
        if not torch.amp.is_autocast_available(kind):
            return ()
        return torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return (  # PyTorch before 2.4
        torch.is_autocast_enabled(),
        torch.get_autocast_gpu_dtype(),
        torch.is_autocast_cpu_enabled(),
        torch.get_autocast_cpu_dtype(),
    )


def _float32_state(device: torch.device) -> tuple[Any, ...]:
    """TF32 and the like; the older names raise where the newer ones were set."""
    backends = torch.backends
    if not _HAS_FP32_PRECISION:
        return (
            torch.get_float32_matmul_precision(),
            backends.cuda.matmul.allow_tf32,
            backends.cudnn.allow_tf32,
        )
    if device.type == 'cuda':
        return backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision
    return backends.mkldnn.matmul.fp32_precision, backends.mkldnn.conv.fp32_precision


def _state(tensors: list[Tensor]) -> list[tuple]:
    return [(t._version, t.data_ptr(), t.dtype) for t in tensors]
