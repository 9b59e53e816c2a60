# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Lets the head learn from a prompt's second stream as well."""

from __future__ import annotations

from typing import Any

from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmvpt.engine.forward import ListeningHook, argument, trains, unwrapped
from mmvpt.errors import UserError
from mmvpt.registry import HOOKS


@HOOKS.register_module()
class CompanionLossHook(ListeningHook):
    r"""Add the loss of the model's head on the feature of a prompt's companion.

    The total is :math:`(1 - w) L + w L_c`: every loss of the model is multiplied by
    1 - w, and ``loss_companion`` is w times what its own head makes of the companion's
    CLS feature (B, C) and the labels of the batch. A task loss named ``loss`` is
    renamed to ``loss_cls``, for the log to show the total under ``loss``. Only training
    is changed; the prediction is that of the image.

    Source: `SA2VP <https://arxiv.org/abs/2312.10376>`_, released code.

    Args:
        weight: Share of the companion (w).

    Raises:
        UserError: If the weight is not between 0 and 1, or the model has no companion
            or no classification head.
    """

    def __init__(self, weight: float = 0.2) -> None:
        if not 0 < weight < 1:
            raise UserError(
                f'weight is the share of the companion, above 0 and below 1, got '
                f'{weight!r}. Leave the hook out for none.'
            )
        super().__init__()
        self.weight = weight
        self._feature: Tensor | None = None

    def before_train(self, runner: Runner) -> None:
        """Listen to the model while it trains."""
        self.attach(unwrapped(runner.model))

    def attach(self, model: nn.Module) -> None:
        """Listen to a model, not wrapped, until :meth:`detach`."""
        found = [
            module
            for module in model.modules()
            if getattr(getattr(module, 'prompt', None), 'companion', False)
        ]
        if len(found) != 1 or not hasattr(getattr(model, 'head', None), 'loss'):
            raise UserError(
                'CompanionLossHook needs a classifier, a model with a head, and one '
                f'backbone with a SpatialPrompt; {type(model).__name__} has '
                f'{len(found)} of these. Remove the hook, or set '
                "model.backbone.prompt=dict(type='SpatialPrompt')."
            )
        neck = getattr(model, 'neck', None) or nn.Identity()
        if any(isinstance(module, _BatchNorm) for module in neck.modules()):
            raise UserError(
                'CompanionLossHook would put the companion through the neck, '
                f'{type(neck).__name__}, whose batch norm would keep statistics of '
                'both streams. Use a model without it, or remove the hook.'
            )
        self._guide = found[0].guide
        self._guide.reads = (*self._guide.reads, 'companion')
        self._handles = [
            self._guide.register_forward_hook(self._record),
            model.register_forward_hook(self._extend, with_kwargs=True),
        ]

    def detach(self) -> None:
        """Stop listening and leave the model as it was."""
        if self._handles:
            reads = self._guide.reads
            self._guide.reads = tuple(name for name in reads if name != 'companion')
        super().detach()

    def _record(self, module: nn.Module, args: tuple, output: None) -> None:
        self._feature = args[1].get('companion', self._feature)

    def _extend(
        self, model: nn.Module, args: tuple, kwargs: dict, output: Any
    ) -> dict | None:
        feature, self._feature = self._feature, None
        if not trains(model, args, kwargs):
            return None
        losses = {
            'loss_cls' if name == 'loss' else name: self._scaled(name, value)
            for name, value in output.items()
        }
        features = (feature,)
        if getattr(model, 'with_neck', False):
            features = model.neck(features)
        own = model.head.loss(features, argument('data_samples', 1, args, kwargs))
        losses['loss_companion'] = self.weight * own['loss']
        return losses

    def _scaled(self, name: str, value: Any) -> Any:
        """Multiply a loss, or a list of them; metrics beside them stay."""
        if 'loss' not in name:
            return value
        if isinstance(value, (list, tuple)):
            return [(1 - self.weight) * part for part in value]
        return (1 - self.weight) * value
