# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Two streams through one frozen layer, and how one asks the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvpt.models.precision import widen

from .attention import attend

if TYPE_CHECKING:
    from .layer import PromptedEncoderLayer, Reads


class Streams:
    """A layer as ``accompany`` of a prompt sees it, in one forward.

    Norm, queries, keys and values of a stream are computed once, whether it runs, asks
    or is asked. Where CLS alone is read, every method returns that row, (B, 1, C).

    Args:
        layer: The layer.
        reads: What is read of it.
    """

    #: Of the layer's stream where a prompt computes in float32, see :func:`in_float32`.
    dtype: torch.dtype | None = None

    def __init__(self, layer: PromptedEncoderLayer, reads: Reads) -> None:
        self.cls_only, self.companion_read = reads.cls_only, reads.companion_read
        self.grid = reads.grid
        self._layer, self._reads = layer, reads
        self._known: list[tuple[Tensor, Tensor, Tensor]] = []

    def run(self, x: Tensor) -> Tensor:
        """Put a stream (B or 1, T, C) through the layer."""
        query, key_value = self._project(x)
        rows = 1 if self.cls_only else x.shape[1]
        attn = self._layer.attn
        out = attn.attend(query[:, :rows], key_value)
        x = self._rounded(x[:, :rows])
        return self._wide(self._layer.mlp(x + attn.out(out)))

    def meet(
        self, x: Tensor, y: Tensor, heads: str = 'all', border: str = 'cut'
    ) -> Tensor:
        """Let the rows of ``x`` ask ``y`` by the layer's frozen attention.

        CLS and registers see all of ``y``, a patch the 3 x 3 patches around its place.
        Neither residual nor scale is applied.

        Args:
            x: The stream that asks, (B or 1, T, C).
            y: The stream that is asked, (B or 1, T, C).
            heads: ``all`` heads of the layer, or ``one`` of width C.
            border: ``cut``: places beyond the border do not exist; ``pad``: they have
                a key and a value of zeros.

        Returns:
            Outputs behind the projection, (B or 1, T, C).
        """
        attn, extra = self._layer.attn, self._reads.num_extra
        query, key_value = self._project(x)[0], self._project(y)[1]
        count = max(x.shape[0], y.shape[0])
        query, key_value = (t.expand(count, -1, -1) for t in (query, key_value))
        num_heads = attn.num_heads if heads == 'all' else 1
        before = 1 if self.cls_only else extra
        outs = [attend(query[:, :before], [key_value], num_heads)] if extra else []
        if not self.cls_only:
            key, value = key_value[:, extra:].chunk(2, dim=-1)
            outs.append(
                attend_around(
                    query[:, extra:],
                    key,
                    value,
                    self._reads.grid,
                    num_heads,
                    pad=border == 'pad',
                )
            )
        return self._wide(attn.proj(attn.norm(torch.cat(outs, dim=1))))

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for known, query, key_value in self._known:
            if known is x:
                return query, key_value
        attn, rotation = self._layer.attn, self._reads.rotation
        normed = self._layer.ln1(self._rounded(x))
        query, key, value = attn.project(normed, 0, 3).chunk(3, dim=-1)
        query, key = (attn.rotate(t, rotation) for t in (query, key))
        key_value = torch.cat([key, value], dim=-1)
        self._known.append((x, query, key_value))
        return query, key_value

    def _rounded(self, x: Tensor) -> Tensor:
        return x if self.dtype is None else x.to(self.dtype)

    def _wide(self, x: Tensor) -> Tensor:
        return x if self.dtype is None else widen(x)


def in_float32(
    accompany: Callable[..., tuple[Tensor, Tensor | None]],
    tokens: Tensor,
    companion: Tensor,
    layer: Streams,
) -> tuple[Tensor | None, ...]:
    """Call ``accompany`` of a prompt with what it computes in, and round what it gives.

    Args:
        accompany: Of one layer.
        tokens: In half precision, (B, E + N, C).
        companion: The same, (1 or B, E + N, C).
        layer: Rounds again what the prompt puts through it.
    """
    layer.dtype = tokens.dtype
    found = accompany(widen(tokens), widen(companion), layer)
    return tuple(x if x is None else x.to(tokens.dtype) for x in found)


def attend_around(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grid: tuple[int, int],
    num_heads: int,
    pad: bool,
) -> Tensor:
    """Attention of each patch to the 3 x 3 patches around its place, (B, N, C).

    Args:
        query: (B, N, C), heads side by side.
        key: (B, N, C).
        value: (B, N, C).
        grid: Rows and columns of the patches.
        num_heads: Heads.
        pad: Whether places beyond the border have key and value zero, else none.
    """
    rows, columns = grid
    heads = (num_heads, query.shape[-1] // num_heads)

    def neighbours(x: Tensor) -> list[Tensor]:
        """Return what stands at each of the nine places, zero beyond the border."""
        wide = F.pad(x, (0, 0, 1, 1, 1, 1))
        places = [(i, j) for i in range(3) for j in range(3)]
        return [wide[:, i : i + rows, j : j + columns] for i, j in places]

    query, key, value = (x.unflatten(1, grid) for x in (query, key, value))
    query = query.unflatten(-1, heads) / heads[1] ** 0.5
    logits = [(query * k.unflatten(-1, heads)).sum(-1) for k in neighbours(key)]
    if not pad:
        there = neighbours(query.new_ones(1, *grid, 1))
        logits = [x.masked_fill(y == 0, -torch.inf) for x, y in zip(logits, there)]
    weights = torch.stack(logits, dim=-1).softmax(dim=-1).unsqueeze(-2).unbind(-1)
    values = (v.unflatten(-1, heads) for v in neighbours(value))
    return sum(w * v for w, v in zip(weights, values)).flatten(3).flatten(1, 2)
