# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Frozen weights in half precision beside tuned parameters in float32."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from mmengine.device import get_device
from torch import Tensor, nn

from mmvpt.errors import UserError

#: What frozen weights may be kept in besides float32.
FROZEN_DTYPES = dict(bfloat16=torch.bfloat16, float16=torch.float16)
HALF = tuple(FROZEN_DTYPES.values())


def widen(x: Tensor) -> Tensor:
    """Return a tensor of half precision in float32, any other as it is."""
    return x.float() if x.dtype in HALF else x


class Mixed:
    """What a module with tuned parameters does in a stream of half precision.

    Matrix products and convolutions round their operands to the stream's dtype, as
    autocast does. A module whose parameters are vectors (norms, scales, parts of a
    bias) computes in float32. What comes out is rounded to the stream's dtype.
    """

    _made_of: tuple[type, type]

    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        """Return what the module gives for ``x``, in its dtype."""
        forward = super().forward  # type: ignore[misc]
        if x.dtype in HALF and _has_vectors_only(self):
            rest = tuple(widen(y) if isinstance(y, Tensor) else y for y in rest)
            return forward(x.float(), *rest).to(x.dtype)
        return _rounded(forward, x, *rest)

    def __reduce_ex__(self, protocol: int) -> tuple:
        """Let copies and pickles make the class, which stands in no module."""
        reduced: Any = super().__reduce_ex__(protocol)
        return _new, self._made_of, *reduced[2:]


class MixedAttention(Mixed):
    """The same for an attention, whose methods use rows of its projections."""

    def forward(self, *args: Any) -> Any:
        """Run as it did; what it calls rounds."""
        return super(Mixed, self).forward(*args)  # type: ignore[misc]

    def project(self, normed: Tensor, *rest: Any) -> Tensor:
        """See ``Attention``."""
        return _rounded(super().project, normed, *rest)  # type: ignore[misc]

    def attend_once(self, normed: Tensor, *rest: Any) -> Tensor:
        """See ``Attention``."""
        return _rounded(super().attend_once, normed, *rest)  # type: ignore[misc]

    def cross(self, x: Tensor, *rest: Any) -> Tensor:
        """See ``Attention``."""
        return _rounded(super().cross, x, *rest)  # type: ignore[misc]


@functools.cache
def mixed_class(mixin: type, base: type) -> type:
    """Return ``base`` with what ``mixin`` does, under its own name."""
    return type(base.__name__, (mixin, base), dict(_made_of=(mixin, base)))


#: Types of a linear layer that is its weight and bias and nothing else.
LINEAR = (nn.Linear, mixed_class(Mixed, nn.Linear))


def warn_of_slow_bfloat16(dtype: torch.dtype) -> None:
    """Say so where bfloat16 costs time: on a CPU that has AVX2 and no AVX-512.

    Args:
        dtype: What is computed in.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    slow = dtype == torch.bfloat16 and capability == 'AVX2'
    if slow and get_device() == 'cpu':
        warnings.warn(
            'bfloat16 is slow on this processor, which has AVX2 and no AVX-512: a step '
            'took 16 times as long as in float32 on such a one. To train in float32, '
            'leave out --amp and frozen_dtype, and set OptimWrapper in place of '
            'AutocastOptimWrapper.',
            stacklevel=2,
        )


def keep_frozen(vit: nn.Module, dtype: torch.dtype) -> str:
    """Keep what is frozen in ``dtype``, and let what trains in it meet that.

    Vectors beside a vector that trains, such as the weight of a norm whose bias does,
    stay in float32.

    Args:
        vit: A backbone that is frozen and has its adapters, not its prompts.
        dtype: Of half precision.

    Returns:
        Name of a parameter that is kept so.

    Raises:
        UserError: If nothing is frozen.
    """
    warn_of_slow_bfloat16(dtype)
    for module in vit.modules():
        mixin = getattr(module, 'mixed_by', None)  # it uses weights of its children
        parameters = module.parameters(recurse=mixin is not None)
        trains = module is not vit and any(p.requires_grad for p in parameters)
        for parameter in module.parameters(recurse=False):
            beside = trains and _has_vectors_only(module)
            if not parameter.requires_grad and not beside:
                parameter.data = parameter.data.to(dtype)
        if trains:
            made: Any = type(module)
            module.__class__ = mixed_class(mixin or Mixed, made)
    kept = [name for name, p in vit.named_parameters() if p.dtype == dtype]
    if not kept:
        raise UserError(
            f'frozen_dtype={str(dtype)[6:]!r} keeps frozen weights so, and tunable '
            'leaves nothing frozen. Set frozen_dtype=None, and --amp for mixed '
            'precision.'
        )
    return kept[0]


def check_images(images: Tensor, dtype: torch.dtype, trains: bool) -> None:
    """Refuse what a stream of half precision would compute wrongly.

    Args:
        images: What enters the backbone.
        dtype: Of its frozen weights.
        trains: Whether gradients are wanted.

    Raises:
        UserError: For float16 on a CPU or trained without scaled losses, and for mixed
            precision of another dtype.
    """
    if dtype not in HALF:
        return
    name, device = str(dtype)[6:], images.device.type
    mixed = autocast_dtype(device)
    if dtype == torch.float16 and device == 'cpu':
        raise UserError(
            "frozen_dtype='float16' is for GPUs, and these images are on the CPU. Set "
            "frozen_dtype='bfloat16' or None, or move model and images to a GPU."
        )
    if mixed not in (None, dtype):
        raise UserError(
            f'mixed precision computes in {str(mixed)[6:]}, but frozen_dtype={name!r}. '
            f'In training set optim_wrapper.dtype={name!r} or leave --amp out, in '
            'evaluation set val_cfg.fp16=False and test_cfg.fp16=False.'
        )
    if dtype == torch.float16 and trains and mixed is None:
        raise UserError(
            "frozen_dtype='float16' loses small gradients unless the loss is scaled: "
            "train with --amp, which scales it, or set frozen_dtype='bfloat16'."
        )


def _rounded(method: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
    """Call with operands and result rounded to ``x``, if that is of half precision."""
    if x.dtype not in HALF:
        return method(x, *rest)
    with torch.autocast(x.device.type, x.dtype):
        return method(x, *rest).to(x.dtype)


def _has_vectors_only(module: nn.Module) -> bool:
    return all(p.dim() < 2 for p in module.parameters(recurse=False))


def _new(mixin: type, base: type) -> nn.Module:
    made: Any = mixed_class(mixin, base)
    return made.__new__(made)


def autocast_dtype(device: str) -> torch.dtype | None:
    """Return what autocast computes in on a device, None if it is off."""
    if hasattr(torch, 'get_autocast_dtype'):
        if not torch.amp.is_autocast_available(device):
            return None
        on = torch.is_autocast_enabled(device)
        return torch.get_autocast_dtype(device) if on else None
    if device == 'cpu':  # PyTorch before 2.4
        return (
            torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
        )
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None
