# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What hooks need that listen to a model or look into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn


class ListeningHook(Hook):
    """A hook that registers torch hooks and removes them after training."""

    def __init__(self) -> None:
        self._handles: list[Any] = []

    def detach(self) -> None:
        """Stop listening to the model."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def after_train(self, runner: Runner) -> None:
        """Stop listening."""
        self.detach()


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside wrappers for distributed training and augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def argument(name: str, place: int, args: tuple, kwargs: dict) -> Any:
    """Return an argument of a model's ``forward(inputs, data_samples, mode)``."""
    if name in kwargs:
        return kwargs[name]
    return args[place] if len(args) > place else None


def trains(model: nn.Module, args: tuple, kwargs: dict) -> bool:
    """Whether a call of a model's ``forward`` is for the losses of a training step."""
    return model.training and argument('mode', 2, args, kwargs) == 'loss'


def with_task_loss(losses: Mapping[str, Any]) -> dict[str, Any]:
    """Return losses with ``loss_cls`` for ``loss``, for the log to show the total."""
    losses = dict(losses)
    if 'loss' in losses and 'loss_cls' not in losses:
        losses['loss_cls'] = losses.pop('loss')
    return losses


@contextmanager
def changed(module: nn.Module, **values: Any) -> Iterator[None]:
    """Have a module with other values of attributes; what it lacks is passed over."""
    before = {name: getattr(module, name) for name in values if hasattr(module, name)}
    try:
        for name in before:
            setattr(module, name, values[name])
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


@contextmanager
def evaluated(module: nn.Module) -> Iterator[None]:
    """Have a module in eval mode."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
