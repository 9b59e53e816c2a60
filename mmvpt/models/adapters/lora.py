# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""LoRA: low-rank additions to the query, key and value projections."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.models.tunable import BIAS_PARTS as PARTS
from mmvpt.registry import ADAPTERS

from .base import Alteration, BaseAdapter, running_layers


class LowRank(Alteration):
    r"""Adds :math:`\frac{\alpha}{r} U D x` to parts of a fused projection.

    Args:
        dims: Channels (C).
        rank: Inner width (r).
        scale: :math:`\alpha / r`.
        parts: Which of ``query``, ``key`` and ``value`` are changed (P of them).
        drop_rate: Dropout of the input of the low-rank branch.
    """

    def __init__(
        self, dims: int, rank: int, scale: float, parts: Sequence[str], drop_rate: float
    ) -> None:
        super().__init__()
        self.parts, self.scale = tuple(parts), scale
        self.dropout = nn.Dropout(drop_rate)
        self.down = nn.Parameter(torch.empty(len(parts), rank, dims))
        self.up = nn.Parameter(torch.zeros(len(parts), dims, rank))
        for down in self.down:
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))

    def forward(self, x: Tensor, y: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return the projection (B, T, len(rows)) with the low-rank part added."""
        x = self.dropout(x)
        begin, end, _ = rows.indices(len(PARTS) * x.shape[-1])
        pieces = list(y.split(x.shape[-1], dim=-1))
        for i, part in enumerate(PARTS[begin // x.shape[-1] : end // x.shape[-1]]):
            if part in self.parts:
                p = self.parts.index(part)
                low = x @ self.down[p].mT @ self.up[p].mT
                pieces[i] = pieces[i] + self.scale * low
        return torch.cat(pieces, dim=-1)


@ADAPTERS.register_module()
class LoRA(BaseAdapter):
    r"""Low-rank adaptation, :math:`W x + \frac{\alpha}{r} U D x` with U = 0 at first.

    LoRA: Low-Rank Adaptation of Large Language Models (arXiv 2106.09685), section 4.
    mmpretrain's ``LoRAModel`` wraps whole linear layers; here query, key and value are
    changed apart, as in the paper, and the frozen keys keep their names.

    Args:
        rank: Inner width (r).
        alpha: Scale times rank; ``rank`` if None, that is a scale of 1.
        parts: Which of ``query``, ``key`` and ``value``; the paper's choice by default.
        drop_rate: Dropout of the input of the low-rank branch.

    Raises:
        UserError: For a rank below 1, an unknown or no part, or a rate beyond [0, 1).
    """

    def __init__(
        self,
        rank: int = 8,
        alpha: float | None = None,
        parts: Sequence[str] = ('query', 'value'),
        drop_rate: float = 0.0,
    ) -> None:
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise UserError(f'rank must be an integer of at least 1, got {rank!r}.')
        if (
            not parts
            or isinstance(parts, str)
            or not set(parts) <= set(PARTS)
            or len(set(parts)) < len(parts)
        ):
            raise UserError(f'parts must be different ones of {PARTS}, got {parts!r}.')
        if not 0 <= drop_rate < 1:
            raise UserError(f'drop_rate must be in [0, 1), got {drop_rate!r}.')
        self.rank, self.parts, self.drop_rate = rank, tuple(parts), drop_rate
        self.scale = 1.0 if alpha is None else alpha / rank

    def alterations(self, host: nn.Module) -> Iterator[tuple[nn.Module, Alteration]]:
        """Yield the fused projection of every layer."""
        for layer in running_layers(host):
            yield (
                layer.attn.qkv,
                LowRank(
                    host.embed_dims, self.rank, self.scale, self.parts, self.drop_rate
                ),
            )
