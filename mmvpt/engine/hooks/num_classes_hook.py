# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The head has as many outputs as the data has classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmvpt.engine.forward import unwrapped
from mmvpt.errors import UserError
from mmvpt.registry import HOOKS

_HEADS = ('head', 'decode_head', 'auxiliary_head')


@HOOKS.register_module()
class NumClassesHook(Hook):
    """Compare ``num_classes`` of every head with the classes of the data.

    Covers ``head`` (mmpretrain), ``decode_head`` and ``auxiliary_head`` (mmseg, lists
    of heads included). Heads without ``num_classes`` and data sets that name no
    classes are left alone.

    Raises:
        UserError: At the start of each stage, if a head and its data disagree.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the training data."""
        self._check(runner, runner.train_dataloader.dataset, 'train')

    def before_val(self, runner: Runner) -> None:
        """Check the validation data."""
        self._check(runner, runner.val_dataloader.dataset, 'val')

    def before_test(self, runner: Runner) -> None:
        """Check the test data."""
        self._check(runner, runner.test_dataloader.dataset, 'test')

    def _check(self, runner: Runner, dataset: Any, stage: str) -> None:
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        if not classes:
            return
        for key, head in self._heads(runner.model):
            num_classes = getattr(head, 'num_classes', None)
            if num_classes is None or num_classes == len(classes):
                continue
            raise UserError(
                f'model.{key}.num_classes is {num_classes}, but the {stage} data set '
                f'({type(dataset).__name__}) has {len(classes)} classes. Set '
                f'model.{key}.num_classes={len(classes)}, or correct '
                f'{stage}_dataloader.dataset.'
            )

    @staticmethod
    def _heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        for key in _HEADS:
            heads = getattr(unwrapped(model), key, None)
            if isinstance(heads, nn.ModuleList):
                yield from ((f'{key}[{i}]', head) for i, head in enumerate(heads))
            elif heads is not None:
                yield key, heads
