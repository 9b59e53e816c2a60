# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What hooks need to know of a model whose forward they listen to."""

from __future__ import annotations

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside a wrapper for distributed training."""
    return model.module if is_model_wrapper(model) else model


def argument(name: str, place: int, args: tuple, kwargs: dict) -> Any:
    """Return an argument of a model's ``forward(inputs, data_samples, mode)``."""
    if name in kwargs:
        return kwargs[name]
    return args[place] if len(args) > place else None
