# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Adds the losses that prompts have of their own parameters."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmvpt.engine.forward import argument, unwrapped
from mmvpt.models.prompts import BasePrompt
from mmvpt.registry import HOOKS


@HOOKS.register_module()
class PromptLossHook(Hook):
    """Add ``losses()`` of the prompts to those of the model, as ``loss_NAME``.

    They are part of what ``forward(mode='loss')`` returns in training, on every rank
    the same, so that neither accumulation of gradients nor several processes change
    their weight. Under autocast they are computed in float32. A task loss named
    ``loss`` is renamed to ``loss_cls``, for the log to show the total under ``loss``.
    Prompts without losses cost nothing.
    """

    def __init__(self) -> None:
        self._handle: Any = None

    def before_train(self, runner: Runner) -> None:
        """Listen to the model, if a prompt of it has losses.

        Args:
            runner: The runner.
        """
        model = unwrapped(runner.model)
        self._prompts = [m for m in model.modules() if has_losses(m)]
        if self._prompts:
            self._handle = model.register_forward_hook(self._extend, with_kwargs=True)

    def after_train(self, runner: Runner) -> None:
        """Stop listening.

        Args:
            runner: The runner.
        """
        if self._handle is not None:
            self._handle.remove()
        self._handle = None

    def _extend(
        self, module: nn.Module, args: tuple, kwargs: dict, output: Any
    ) -> dict | None:
        if not module.training or argument('mode', 2, args, kwargs) != 'loss':
            return None
        losses = dict(output)
        if 'loss' in losses and 'loss_cls' not in losses:
            losses['loss_cls'] = losses.pop('loss')
        for prompt in self._prompts:
            device = next(prompt.parameters()).device.type
            with torch.autocast(device, enabled=False):
                own = prompt.losses()
            losses.update({f'loss_{name}': value for name, value in own.items()})
        return losses


def has_losses(module: nn.Module) -> bool:
    """Whether a module is a prompt with losses of its own."""
    return isinstance(module, BasePrompt) and bool(module.losses())
