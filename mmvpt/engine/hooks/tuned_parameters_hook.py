# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What is tuned, what is frozen, and whether gradients arrive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.runner import Runner
from torch import nn

from mmvpt.display import markdown
from mmvpt.engine.forward import ListeningHook, unwrapped
from mmvpt.errors import UserError
from mmvpt.registry import HOOKS

from .prompt_loss_hook import PromptLossHook, has_losses


@HOOKS.register_module()
class TunedParametersHook(ListeningHook):
    """Report tuned and frozen parameters, and check that gradients arrive.

    At the start it logs a table with one row per part of the model and writes the same
    figures to ``tuned_parameters.json`` in the log folder. In the first update it
    checks that every tuned parameter received a gradient.

    Args:
        check_gradients: Make a tuned parameter without a gradient an error.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, check_gradients: bool = True) -> None:
        super().__init__()
        self.check_gradients = check_gradients
        self._iterations_left = 0

    def before_train(self, runner: Runner) -> None:
        """Report, and start to watch gradients."""
        model = unwrapped(runner.model)
        report = self.count(model)
        if not report['tuned']:
            raise UserError(
                'every parameter of the model is frozen, there is nothing to train. '
                'Give the backbone a prompt or a tunable part, or the model a head.'
            )
        self._report(runner, report)
        listening = any(isinstance(hook, PromptLossHook) for hook in runner.hooks)
        for module in model.modules():
            if has_losses(module) and not listening:
                raise UserError(
                    f'{type(module).__name__} has losses of its own parameters, which '
                    'nobody adds. Set default_hooks.prompt_loss='
                    "dict(type='mmvpt.PromptLossHook')."
                )
        if self.check_gradients:
            self._watch(runner, model)

    @staticmethod
    def count(model: nn.Module) -> dict:
        """Count parameters, each once, by the part of the model they belong to.

        Returns:
            ``tuned``, ``frozen`` and ``total`` numbers, ``percent`` tuned of total,
            ``groups`` with tuned and frozen numbers of each part, and ``tensors`` with
            the shape of each tuned parameter.
        """
        groups: dict[str, dict[str, int]] = {}
        tensors: dict[str, list[int]] = {}
        for name, parameter in model.named_parameters():
            parts = name.split('.')
            depth = 2 if parts[0] == 'backbone' and len(parts) > 2 else 1
            group = groups.setdefault('.'.join(parts[:depth]), dict(tuned=0, frozen=0))
            group['tuned' if parameter.requires_grad else 'frozen'] += parameter.numel()
            if parameter.requires_grad:
                tensors[name] = list(parameter.shape)
        tuned = sum(group['tuned'] for group in groups.values())
        frozen = sum(group['frozen'] for group in groups.values())
        return dict(
            tuned=tuned,
            frozen=frozen,
            total=tuned + frozen,
            percent=100 * tuned / max(1, tuned + frozen),
            groups=groups,
            tensors=tensors,
        )

    @staticmethod
    @master_only
    def _report(runner: Runner, report: dict) -> None:
        rows = [
            (name, f'{group["tuned"]:,}', f'{group["frozen"]:,}')
            for name, group in report['groups'].items()
        ]
        rows.append(('total', f'{report["tuned"]:,}', f'{report["frozen"]:,}'))
        runner.logger.info(
            f'Parameters:\n{markdown([("part", "tuned", "frozen"), *rows])}'
            f'{report["percent"]:.3f} % of {report["total"]:,} are tuned.'
        )
        path = Path(runner.log_dir) / 'tuned_parameters.json'
        path.write_text(json.dumps(report, indent=1) + '\n')

    def _watch(self, runner: Runner, model: nn.Module) -> None:
        self._missing = {n for n, p in model.named_parameters() if p.requires_grad}
        # With gradient accumulation the first update may come several iterations on.
        self._iterations_left = getattr(runner.optim_wrapper, '_accumulative_counts', 1)

        def note(name: str) -> Any:
            return lambda grad: self._missing.discard(name)

        self._handles = [
            parameter.register_hook(note(name))
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]

    def after_train_iter(self, runner: Runner, batch_idx: int, **_: Any) -> None:
        """Check the gradients of the first update."""
        if not self._handles:
            return
        self._iterations_left -= 1
        if self._missing and self._iterations_left > 0:
            return
        self.detach()
        if self._missing:
            raise UserError(
                'these parameters are tuned, but no gradient reaches them: '
                f'{", ".join(sorted(self._missing))}. Freeze them, or find out why the '
                'loss does not depend on them (a prompt behind the last layer that is '
                'read, an unused neck). To train anyway set '
                "dict(type='mmvpt.TunedParametersHook', check_gradients=False)."
            )
