# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prompts of fixed rows that enter every layer, or the first one alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmvpt.errors import UserError, one_of

from .base import BasePrompt, drop_for_each_image, patch_uniform_, positive, rate

NOT_STARTED = (
    'training runs on prompts that were neither loaded nor made of training images, so '
    'the method is plain VPT. Add default_hooks.prompt_init='
    "dict(type='mmvpt.PromptInitHook') to the config, or call initialise()."
)


def chosen_layers(
    name: str, layers: Sequence[int] | None, num_layers: int
) -> tuple[int, ...]:
    """Return ``layers``, or all of the ViT's if None.

    Raises:
        UserError: Unless they are ascending layers of the ViT, at least one.
    """
    chosen = list(range(num_layers)) if layers is None else list(layers)
    if not chosen or chosen != sorted(set(chosen) & set(range(num_layers))):
        raise UserError(
            f'{name} must be ascending numbers from 0 to {num_layers - 1}, at least '
            f'one; got {layers!r}.'
        )
    return tuple(chosen)


class DepthPrompt(BasePrompt):
    """M prompts before each layer (``deep``), or before the first (``shallow``).

    As VPT has them: deep prompts replace those of the layer before, shallow ones live
    through all layers. A method overrides :meth:`rows`, what it makes of its
    parameters.

    Args:
        num_tokens: Prompts of a layer (M).
        depth: ``deep`` or ``shallow``.
        drop_rate: Dropout on the prompts.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: If ``depth`` is another word.
        ValueError: If ``num_tokens`` is below 1 or the rate is not in [0, 1).
    """

    _warned = False

    def __init__(self, num_tokens: int, depth: str, drop_rate: float, **host) -> None:
        super().__init__(**host)
        positive(num_tokens=num_tokens)
        one_of('depth', depth, ('deep', 'shallow'))
        rate(drop_rate=drop_rate)
        self.num_tokens = num_tokens
        self.depth = depth
        self.keeps_outputs = depth == 'shallow'
        self.dropout = nn.Dropout(drop_rate)

    @property
    def num_prompted(self) -> int:
        """Layers that have prompts of their own: L, or 1 if shallow."""
        return self.num_layers if self.depth == 'deep' else 1

    @property
    def last_layer(self) -> int:
        """The last layer of all; layer 0 if shallow."""
        return self.num_prompted - 1

    def learned_tokens(self) -> nn.Parameter:
        """Return new tokens with VPT's start, (L, M, C), or (M, C) if shallow."""
        layers = (self.num_layers,) if self.depth == 'deep' else ()
        tokens = torch.empty(*layers, self.num_tokens, self.embed_dims)
        return nn.Parameter(patch_uniform_(tokens, self.patch_size))

    def of_layer(self, values: Tensor, i: int) -> Tensor:
        """Return the part of layer ``i`` of (L, ...), or all of it if shallow."""
        return values[i] if self.depth == 'deep' else values

    def is_static(self, i: int) -> bool:
        """Every layer's if deep; if shallow, what a layer wrote is none."""
        return i < self.num_prompted

    def forward(
        self,
        i: int,
        patches: Tensor,
        grid: tuple[int, int],
        entered: Tensor | None = None,
        left: Tensor | None = None,
    ) -> Tensor:
        """Return :meth:`rows` of layer ``i``, or what a layer wrote if shallow.

        Shapes as in :meth:`BasePrompt.forward`.
        """
        if self.training and self.init_images != 0 and not self.started:
            self.not_started()
        return self.rows(i, patches.shape[0]) if i < self.num_prompted else left

    def not_started(self) -> None:
        """Say once that training runs though :meth:`initialise` never did."""
        if not self._warned and not torch.compiler.is_compiling():
            self._warned = True
            warnings.warn(f'{type(self).__name__}: {NOT_STARTED}', stacklevel=2)

    def fill(self, parameter: Tensor, values: Tensor) -> None:
        """Set a parameter to what :meth:`initialise` found.

        Raises:
            UserError: If a value is not finite.
        """
        if not values.isfinite().all():
            raise UserError(
                f'{type(self).__name__}: the start made of training images is not '
                'finite. Look at the images, their normalisation and the weights of '
                'the backbone.'
            )
        with torch.no_grad():
            parameter.copy_(values)

    def generator(self, i: int) -> torch.Generator:
        """Return the generator of layer ``i``'s draws, a function of the seed alone."""
        return torch.Generator().manual_seed(1_000_003 * self.init_seed + i)

    def rows(self, i: int, batch_size: int) -> Tensor:
        """Return the prompts of layer ``i``, (1, M, C), or (B, M, C) under dropout.

        Here the parameter ``tokens``, with a dropout mask for each image.
        """
        tokens = self.of_layer(self.tokens, i)
        return drop_for_each_image(tokens, self.dropout, batch_size)
