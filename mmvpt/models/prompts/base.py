# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The contract between a prompt method and the backbone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from mmvpt.errors import UserError

#: Where a layer may meet its prompts, see :attr:`BasePrompt.position`. With X' the
#: cross-attention: x + X'(x) before the layer (``before``), between its halves
#: (``between``) or behind it (``after``); attn(LN1 x) + X'(x) under one residual
#: (``attention``); MLP(LN2 x + X'(x)) (``mlp``).
POSITIONS = ('sequence', 'before', 'attention', 'between', 'mlp', 'after')


class BasePrompt(nn.Module):
    """What every prompt method offers to the backbone.

    The backbone calls ``prompt(i, patches, grid, entered=..., left=...)`` before layer
    ``i`` and lets what comes back enter that layer as extra tokens without position
    embedding. A method overrides :meth:`forward` and whichever of the attributes and
    methods below differ from plain prompts; each has a default that changes nothing.
    It never sees the backbone itself; what it needs to know about it are the arguments
    the backbone fills in.

    Args:
        embed_dims: Channels of the host ViT (C). Given by the backbone, as are all.
        num_layers: Depth of the host ViT (L).
        patch_grid: Rows and columns of patches at the training image size.
        patch_size: Side of a patch in pixels.
        num_heads: Attention heads of the host (H); 1 where a prompt stands alone.
        num_extra_tokens: Rows before the patches (E): CLS, if there is one, and
            registers.
    """

    #: Whether the rows that layer i writes at its prompts are wanted as ``left`` when
    #: layer i + 1 asks for its prompts. If not, those rows are never computed.
    keeps_outputs: bool = False
    #: Layers (ascending) whose operands are handed to metric losses during training.
    guided_layers: tuple[int, ...] = ()
    #: Whether a prompt as a query sees patches only (not CLS, not the prompts).
    mask: bool = False
    #: Where a layer meets its prompts. ``sequence``: as tokens of its own attention.
    #: The others name the place of a cross-attention of all rows to the prompts alone,
    #: by the layer's projections without norm; see ``POSITIONS``.
    position: str = 'sequence'
    #: Whether :meth:`refine` changes what layers write at the patches.
    refines: bool = False
    #: Whether a second stream runs beside the image; see :meth:`accompany`.
    companion: bool = False
    #: Images that :meth:`initialise` wants: 0 for none, None for all of them.
    init_images: int | None = 0
    #: Whether :meth:`initialise` reads labels.
    init_labels: bool = False
    #: Seed of what :meth:`initialise` draws; ``PromptInitHook`` gives it that of the
    #: run.
    init_seed: int = 0
    #: Whether parameters were loaded or :meth:`initialise` has run: it runs once.
    started: bool = False
    #: Buffers that training alone reads; files made for use leave them out.
    training_buffers: tuple[str, ...] = ()
    #: Parameters that training alone reads; files made for use leave them out.
    training_parameters: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        embed_dims: int,
        num_layers: int,
        patch_grid: tuple[int, int],
        patch_size: int,
        num_heads: int = 1,
        num_extra_tokens: int = 1,
    ) -> None:
        super().__init__()
        self.embed_dims = embed_dims
        self.num_layers = num_layers
        self.patch_grid = patch_grid
        self.patch_size = patch_size
        self.num_heads = num_heads
        self.num_extra_tokens = num_extra_tokens

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        self.started |= any(name.startswith(prefix) for name in state_dict)
        super()._load_from_state_dict(state_dict, prefix, *args)

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
        """Return the prompts that enter layer ``i``; by default none.

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
        return None

    def is_static(self, i: int) -> bool:
        """Whether in eval mode the prompts of layer ``i`` depend on parameters alone.

        Then what attention sees of them is computed once, not for every batch.
        """
        return False

    def temperature(self, i: int) -> Tensor | None:
        """Return what divides the attention logits of layer ``i``, or None for 1."""
        return None

    def extra_key_values(self, i: int) -> Tensor | None:
        """Return keys and values that no token has, for the attention of layer ``i``.

        They stand beside those of the tokens, neither projected nor rotated; every
        query but those of prompts with :attr:`mask` sees them.

        Returns:
            Keys and values side by side, heads side by side in each, (1, S, 2C) or
            (B, S, 2C); None for none.
        """
        return None

    def refine(self, i: int, patches: Tensor, *constants: Tensor) -> Tensor:
        """Return what layer ``i`` leaves at the patches in place of what it wrote.

        Called where :attr:`refines` is set and the patches are read afterwards.

        Args:
            i: Index of the layer.
            patches: What it wrote there, (B, N, C).
            *constants: What :meth:`constants` returned, where it is kept; else none.
        """
        return patches

    def constants(self, i: int) -> tuple[Tensor, ...]:
        """Return what :meth:`refine` of layer ``i`` makes of parameters alone.

        In evaluation without gradients it is computed once, not for every batch.
        """
        return ()

    def start(self, position: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the companion as it enters layer 0, (1, E + N, C) or (B, E + N, C).

        Args:
            position: What the host adds at CLS and patches for this grid, zero where it
                has no positions; at registers, the registers themselves (1, E + N, C).
            grid: Rows and columns of the patches.
        """
        raise NotImplementedError

    def accompany(
        self, i: int, tokens: Tensor, companion: Tensor, layer: LayerView
    ) -> tuple[Tensor, Tensor | None]:
        """Run layer ``i`` for both streams; what they exchange is the method's.

        Called for every layer where :attr:`companion` is set, in place of the layer
        itself. In a layer of which CLS alone is read (``layer.cls_only``), ``run`` and
        ``meet`` return that row alone, (B, 1, C), and so does this.

        Args:
            i: Index of the layer.
            tokens: CLS, registers and patches entering it, (B, E + N, C).
            companion: The companion entering it, (1 or B, E + N, C).
            layer: The layer: ``layer.run(x)`` puts a stream through it,
                ``layer.meet(x, y)`` lets one stream ask the other; streams are
                projected once, however often they are met. ``layer.companion_read``
                says whether anybody reads the companion afterwards.

        Returns:
            Both streams as they leave; None for a companion that nobody reads.
        """
        raise NotImplementedError

    def queries(self) -> Tensor | None:
        """Return queries for a head that takes them, (M, Q), or None.

        The backbone gives them as the last of its outputs.
        """
        return None

    def losses(self) -> dict[str, Tensor]:
        """Return losses of the parameters alone: weighted scalars by name.

        They are read once in each training iteration and added as ``loss_NAME``.
        """
        return {}

    def initialise(
        self, host: FrozenHost, batches: Iterable[tuple[Tensor, Tensor | None]]
    ) -> None:
        """Fill parameters in place from what the frozen host makes of images.

        Called once before training, in eval mode and without gradients, where
        :attr:`init_images` is not 0. Read everything before anything is written.

        Args:
            host: The frozen ViT; see ``mmvpt.models.vit.FrozenHost``.
            batches: Normalised images (b, 3, H, W) and their labels (b,), None unless
                :attr:`init_labels`.
        """

    def proxies(self, i: int) -> Tensor:
        """Return the prompts of guided layer ``i`` before dropout, (M, C)."""
        raise NotImplementedError(
            f'{type(self).__name__} offers no prompts to metric losses; '
            'use DistributionAwarePrompt.'
        )


class FrozenHost(Protocol):
    """What :meth:`BasePrompt.initialise` sees of a backbone."""

    num_layers: int
    num_heads: int
    num_extra: int

    def embed(self, images: Tensor, positions: bool = True) -> Tensor:
        """Return what enters layer 0, (B, E + N, C); else patches alone (B, N, C)."""

    def trace(self, images: Tensor, prompted: bool = False) -> Iterator[dict]:
        """Yield what enters each layer, before the layer runs."""

    def layer(self, i: int, tokens: Tensor) -> Tensor:
        """Run layer ``i`` on tokens (b, t, C) alone."""

    def query(self, i: int) -> tuple[Tensor, Tensor]:
        """Return the query projection of layer ``i``: weight (C, C), bias (C,)."""

    def key(self, i: int) -> tuple[Tensor, Tensor]:
        """Return the key projection of layer ``i``: weight (C, C), bias (C,)."""

    def value(self, i: int) -> tuple[Tensor, Tensor]:
        """Return the value projection of layer ``i``: weight (C, C), bias (C,)."""

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the whole model as it stands, a scalar."""


class LayerView(Protocol):
    """What :meth:`BasePrompt.accompany` sees of a layer."""

    cls_only: bool
    companion_read: bool
    grid: tuple[int, int]

    def run(self, x: Tensor) -> Tensor:
        """Put a stream (B or 1, T, C) through the layer."""

    def meet(
        self, x: Tensor, y: Tensor, heads: str = 'all', border: str = 'cut'
    ) -> Tensor:
        """Let the rows of ``x`` ask ``y`` by the layer's attention, (B or 1, T, C)."""


def positive(**values: int) -> None:
    """Raise unless every named value is an integer of at least 1.

    Raises:
        UserError: With the name and the value that was given.
    """
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f'{name} must be an integer of at least 1, got {value!r}.')


def rate(**values: float) -> None:
    """Raise unless every named value is a dropout rate in [0, 1).

    Raises:
        UserError: With the name and the value that was given.
    """
    for name, value in values.items():
        if not 0 <= value < 1:
            raise UserError(f'{name} must be in [0, 1), got {value!r}.')


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
