# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""An optimizer that knows only what is tuned."""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn
from torch.nn import Parameter

from mmvpt.engine.forward import unwrapped
from mmvpt.errors import UserError
from mmvpt.registry import OPTIM_WRAPPER_CONSTRUCTORS

# What mmengine's constructor reads; it ignores every other key of paramwise_cfg.
_OPTIONS = {
    'custom_keys',
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'flat_decay_mult',
    'dwconv_decay_mult',
    'dcn_offset_lr_mult',
    'bypass_duplicate',
}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TunedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's default constructor, given the tuned parameters only.

    Frozen parameters stay out of the optimizer and its state. Parameters with equal
    options share a group, so optimizers that take a single group (L-BFGS) work as long
    as no option differs. A key of ``paramwise_cfg['custom_keys']`` that decides about
    no tuned parameter is an error: it is a misspelling or the name of a frozen part.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper.
        paramwise_cfg: Options for some parameters, as in mmengine.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper.

        Raises:
            UserError: If nothing is tuned, an option is unknown or a custom key
                matches nothing.
        """
        model = unwrapped(model)
        tuned = {n: p for n, p in model.named_parameters() if p.requires_grad}
        if not tuned:
            raise UserError(
                'every parameter of the model is frozen, there is nothing to optimise.'
            )
        self._check_options()
        self._check_custom_keys(model, tuned)
        params: list = list(tuned.values())
        if self.paramwise_cfg:
            params = []
            self.add_params(params, model)
            params = _merge(params)
        optimizer = OPTIMIZERS.build(dict(self.optimizer_cfg, params=params))
        wrapper_cfg = dict(self.optim_wrapper_cfg)
        wrapper_cfg.setdefault('type', 'OptimWrapper')
        return OPTIM_WRAPPERS.build(wrapper_cfg, default_args=dict(optimizer=optimizer))

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: Any = None,
    ) -> None:
        """Collect parameters as mmengine does, passing wholly frozen parts by.

        Args:
            params: Groups collected so far; extended in place.
            module: The module to go through.
            prefix: Its name in the model.
            is_dcn_module: As in mmengine.
        """
        if any(p.requires_grad for p in module.parameters()):
            super().add_params(params, module, prefix, is_dcn_module)

    def _check_options(self) -> None:
        unknown = sorted(set(self.paramwise_cfg) - _OPTIONS)
        if unknown:
            raise UserError(
                f'optim_wrapper.paramwise_cfg has no option {unknown[0]!r}; options '
                f'are {", ".join(sorted(_OPTIONS))}.'
            )

    def _check_custom_keys(self, model: nn.Module, tuned: dict[str, Parameter]) -> None:
        keys = self.paramwise_cfg.get('custom_keys', {})
        # mmengine's rule: the longest key that is part of the name decides.
        order = sorted(sorted(keys), key=len, reverse=True)
        used = {next((key for key in order if key in name), None) for name in tuned}
        for key in order:
            if key in used:
                continue
            matches = [name for name, _ in model.named_parameters() if key in name]
            if not matches:
                why = 'is part of no parameter name'
            elif any(name in tuned for name in matches):
                why = 'is overruled by longer keys everywhere'
            else:
                why = f'matches frozen parameters only ({matches[0]} ...)'
            shown = list(tuned)[:8] + ['...'] * (len(tuned) > 8)
            raise UserError(
                f'optim_wrapper.paramwise_cfg.custom_keys: {key!r} {why}. Correct or '
                f'remove it. Tuned parameters: {", ".join(shown)}'
            )


def _merge(groups: list[dict]) -> list[dict]:
    """Join groups with equal options, in order of appearance; drop frozen ones."""
    merged: dict[tuple, dict] = {}
    for group in groups:
        params = [p for p in group['params'] if p.requires_grad]
        options = {key: value for key, value in group.items() if key != 'params'}
        if params:
            key = tuple(sorted((name, repr(value)) for name, value in options.items()))
            merged.setdefault(key, dict(options, params=[]))['params'] += params
    return list(merged.values())
