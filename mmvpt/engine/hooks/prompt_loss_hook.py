# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Adds the losses that prompts have of their own parameters."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.runner import Runner
from torch import nn

from mmvpt.engine.forward import ListeningHook, trains, unwrapped, with_task_loss
from mmvpt.models.prompts import BasePrompt
from mmvpt.registry import HOOKS


@HOOKS.register_module()
class PromptLossHook(ListeningHook):
    """Add ``losses()`` of the prompts to those of the model, as ``loss_NAME``.

    They are part of what ``forward(mode='loss')`` returns in training, on every rank
    the same, so that neither accumulation of gradients nor several processes change
    their weight. Under autocast they are computed in float32. A task loss named
    ``loss`` is renamed to ``loss_cls``, for the log to show the total under ``loss``.
    Prompts without losses cost nothing.
    """

    def before_train(self, runner: Runner) -> None:
        """Listen to the model, if a prompt of it has losses."""
        model = unwrapped(runner.model)
        self._prompts = [m for m in model.modules() if has_losses(m)]
        if self._prompts:
            self._handles = [
                model.register_forward_hook(self._extend, with_kwargs=True)
            ]

    def _extend(
        self, module: nn.Module, args: tuple, kwargs: dict, output: Any
    ) -> dict | None:
        if not trains(module, args, kwargs):
            return None
        losses = with_task_loss(output)
        for prompt in self._prompts:
            device = next(prompt.parameters()).device.type
            with torch.autocast(device, enabled=False):
                own = prompt.losses()
            losses.update({f'loss_{name}': value for name, value in own.items()})
        return losses


def has_losses(module: nn.Module) -> bool:
    """Whether a module is a prompt with losses of its own."""
    return isinstance(module, BasePrompt) and bool(module.losses())
