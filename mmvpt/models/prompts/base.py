# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The contract between a prompt method and the backbone."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class BasePrompt(nn.Module):
    """What every prompt method offers to the backbone.

    The backbone calls ``prompt(i, patches, grid, entered=..., left=...)`` before layer
    ``i`` and lets what comes back enter that layer as extra tokens without position
    embedding. A method overrides :meth:`forward` and whichever of the attributes and
    methods below differ from plain prompts. It never sees the backbone itself; what it
    needs to know about it are the four arguments the backbone fills in.

    Args:
        embed_dims: Channels of the host ViT (C). Given by the backbone.
        num_layers: Depth of the host ViT (L). Given by the backbone.
        patch_grid: Rows and columns of patches at the training image size. Given by
            the backbone.
        patch_size: Side of a patch in pixels. Given by the backbone.
    """

    #: Whether the rows that layer i writes at its prompts are wanted as ``left`` when
    #: layer i + 1 asks for its prompts. If not, those rows are never computed.
    keeps_outputs: bool = False
    #: Layers (ascending) whose operands are handed to metric losses during training.
    guided_layers: tuple[int, ...] = ()
    #: Whether a prompt as a query sees patches only (not CLS, not the prompts).
    mask: bool = False
    #: Buffers that training alone reads; files made for use leave them out.
    training_buffers: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        embed_dims: int,
        num_layers: int,
        patch_grid: tuple[int, int],
        patch_size: int,
    ) -> None:
        super().__init__()
        self.embed_dims = embed_dims
        self.num_layers = num_layers
        self.patch_grid = patch_grid
        self.patch_size = patch_size

    @property
    def first_layer(self) -> int:
        """The first layer that prompts enter; what runs before it sees none."""
        return 0

    @property
    def last_layer(self) -> int:
        """The last layer that reads a parameter of this prompt.

        A backbone that stops before it would leave parameters without a gradient and
        is refused at build.
        """
        return self.num_layers - 1

    def forward(
        self,
        i: int,
        patches: Tensor,
        grid: tuple[int, int],
        entered: Tensor | None = None,
        left: Tensor | None = None,
    ) -> Tensor | None:
        """Return the prompts that enter layer ``i``.

        Args:
            i: Index of the layer, from 0.
            patches: Patch tokens entering layer ``i``, before its norm, (B, N, C).
            grid: Rows and columns of the patches, N = rows * columns.
            entered: Prompts that entered layer ``i - 1``, as this method returned
                them; None before layer 0.
            left: Prompts as layer ``i - 1`` wrote them, (B, M, C); None before layer
                0 and unless :attr:`keeps_outputs`.

        Returns:
            (1, M, C) if all images share the prompts, else (B, M, C); None for a layer
            without prompts.
        """
        raise NotImplementedError

    def is_static(self, i: int) -> bool:
        """Whether in eval mode the prompts of layer ``i`` depend on parameters alone.

        Then what attention sees of them is computed once, not for every batch.
        """
        return False

    def temperature(self, i: int) -> Tensor | None:
        """Return what divides the attention logits of layer ``i``, or None for 1."""
        return None

    def proxies(self, i: int) -> Tensor:
        """Return the prompts of guided layer ``i`` before dropout, (M, C)."""
        raise NotImplementedError(
            f'{type(self).__name__} offers no prompts to metric losses; '
            'use DistributionAwarePrompt.'
        )


def positive(**values: int) -> None:
    """Raise unless every named value is an integer of at least 1.

    Raises:
        ValueError: With the name and the value that was given.
    """
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f'{name} must be an integer of at least 1, got {value!r}.')


def rate(**values: float) -> None:
    """Raise unless every named value is a dropout rate in [0, 1).

    Raises:
        ValueError: With the name and the value that was given.
    """
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f'{name} must be in [0, 1), got {value!r}.')


def patch_uniform_(tokens: Tensor, patch_size: int) -> Tensor:
    r"""Fill with VPT's initialisation, Xavier's bound of a patch projection.

    :math:`U(-v, v)` with :math:`v = \sqrt{6 / (3 p^2 + C)}`, p the side of a patch
    (VPT, supplementary material and released code).

    Args:
        tokens: Filled in place, (..., C).
        patch_size: Side of a patch in pixels.
    """
    bound = math.sqrt(6 / (3 * patch_size**2 + tokens.shape[-1]))
    with torch.no_grad():
        return tokens.uniform_(-bound, bound)


def drop_for_each_image(tokens: Tensor, dropout: nn.Dropout, batch_size: int) -> Tensor:
    """Return learned tokens (M, C) as prompts, with a dropout mask for each image.

    Returns:
        (1, M, C) where dropout is not active, so that the batch shares keys and values;
        else (B, M, C).
    """
    tokens = tokens.unsqueeze(0)
    if dropout.training and dropout.p > 0:
        return dropout(tokens.expand(batch_size, -1, -1))
    return tokens
