# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""SA2VP: a map of prompts that runs beside the image (Pei et al., AAAI 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.errors import UserError, one_of
from mmvpt.registry import PROMPTS

from .base import BasePrompt, LayerView, positive, rate


class Bridge(nn.Module):
    r"""Turn what one stream learns of the other into an addition behind the layer.

    :math:`W_2\,\mathrm{gelu}(W_1\,\mathrm{LN}(m + Q) + b_1) + b_2`, m the answer, Q the
    rows that asked. The residual goes into the norm and is not added again.

    Args:
        dims: Channels (C).
        rank: Inner width (r).
        drop_rate: Dropout of the answer, of the inner width and of the result.
    """

    def __init__(self, dims: int, rank: int, drop_rate: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dims, eps=1e-6)
        self.reduce = _linear(dims, rank)
        self.expand = _linear(rank, dims)
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, answer: Tensor, rows: Tensor) -> Tensor:
        """Return the addition, (B, T, C), for answers and asking rows of that shape."""
        x = self.norm(self.dropout(answer) + rows)
        x = self.dropout(F.gelu(self.reduce(x)))
        return self.dropout(self.expand(x))


@PROMPTS.register_module()
class SpatialPrompt(BasePrompt):
    r"""A prompt for each patch and for CLS, a second stream through the frozen layers.

    The companion Y starts as :math:`U W^T + b` plus the host's positions. Streams never
    share a self-attention. In layer i, with F the layer and A a :class:`Bridge` over
    the layer's own attention of a patch to its 3 x 3 neighbours in the other stream
    (of CLS to all rows),

    .. math::
        \text{adapt:}\quad & Y' = F(Y) [+ F(G_p) c_p] + s A(Y, X), \quad X' = F(X) \\
        \text{else:}\quad & Y' = F(Y), \quad X' = F(X) + s A(X, Y)

    where fresh prompts :math:`G_p = E_p W_p^T + b_p` join at ``fresh_layers``. What is
    returned is the image's stream; the companion's CLS feature goes to whoever reads
    ``companion`` of the guide, see ``CompanionLossHook``.

    Parameters: ``tokens`` U (E + N, r), ``expand``, ``fresh_tokens`` (P, E + N, r),
    ``fresh_expand``, ``fresh_scales`` (P, C), ``bridges``; E is 1, or 1 + registers. At
    another grid the rows of patches are resized bilinearly.

    Source: `SA2VP <https://arxiv.org/abs/2312.10376>`_ in the form of its `code
    <https://github.com/tommy-xq/SA2VP>`_, which has two attentions that differ:
    ``heads='all', border='cut'`` and, called an accelerated version of it,
    ``heads='one', border='pad'``.

    Args:
        rank: Inner width of tokens and bridges (r).
        adapt_layers: Layers where the companion asks the image, ascending; every fourth
            from 0 but the last if None. In all others the image asks.
        fresh_layers: Those of ``adapt_layers`` that fresh prompts join; all but the
            first if None.
        scale: Weight of the additions (s).
        heads: ``all`` heads of the layer, or ``one`` of its whole width.
        border: Neighbours beyond the border are ``cut`` off, or there as zero keys and
            values (``pad``).
        drop_rate: Dropout on the companion, on answers and in bridges. The host's
            frozen layers have none, unlike in the released code.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: For a rank, layer, choice or rate that is not allowed, or a host
            without CLS.
    """

    companion = True

    def __init__(
        self,
        rank: int = 16,
        adapt_layers: Sequence[int] | None = None,
        fresh_layers: Sequence[int] | None = None,
        scale: float = 0.1,
        heads: str = 'all',
        border: str = 'cut',
        drop_rate: float = 0.1,
        **host,
    ) -> None:
        super().__init__(**host)
        positive(rank=rank)
        rate(drop_rate=drop_rate)
        one_of('heads', heads, ('all', 'one'))
        one_of('border', border, ('cut', 'pad'))
        if self.num_extra_tokens < 1:
            raise UserError(
                'SpatialPrompt needs a host with a class token: a row of the companion '
                'stands beside it.'
            )
        self.adapt_layers, self.fresh_layers = self._check(adapt_layers, fresh_layers)
        self.scale, self.heads, self.border = scale, heads, border
        rows = self.num_extra_tokens + self.patch_grid[0] * self.patch_grid[1]
        dims, count = self.embed_dims, len(self.fresh_layers)
        self.tokens = nn.Parameter(_normal(rows, rank))
        self.expand = _linear(rank, dims)
        self.dropout = nn.Dropout(drop_rate)
        self.register_parameter('fresh_tokens', None)
        self.register_parameter('fresh_scales', None)
        if count:
            self.fresh_tokens = nn.Parameter(_normal(count, rows, rank))
            scales = nn.init.normal_(torch.empty(count, dims), std=0.02)
            self.fresh_scales = nn.Parameter(scales)
        self.fresh_expand = nn.ModuleList(_linear(rank, dims) for _ in range(count))
        self.bridges = nn.ModuleList(
            Bridge(dims, rank, drop_rate) for _ in range(self.num_layers)
        )

    def _check(
        self, adapt: Sequence[int] | None, fresh: Sequence[int] | None
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the layers where the companion asks, and those with fresh prompts."""
        last = self.num_layers - 1
        chosen = tuple(range(0, last, 4) if adapt is None else adapt)
        if not set(chosen) <= set(range(last)) or list(chosen) != sorted(set(chosen)):
            raise UserError(
                f'adapt_layers must be ascending numbers from 0 to {last - 1}, got '
                f'{adapt}. In the last layer, {last}, the image asks: what the '
                'companion learnt there would never reach it.'
            )
        joined = chosen[1:] if fresh is None else tuple(fresh)
        if not set(joined) <= set(chosen) or list(joined) != sorted(set(joined)):
            raise UserError(
                f'fresh_layers must be ascending and among adapt_layers={chosen}, got '
                f'{fresh}.'
            )
        return chosen, joined

    def start(self, position: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the companion as it enters layer 0, see :meth:`BasePrompt.start`."""
        return self.expand(self._at(self.tokens, grid)) + position

    def _at(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Resize the rows of patches of (E + N, r) to another grid, (1, E + N', r)."""
        tokens = tokens[None]
        if tuple(grid) == tuple(self.patch_grid):
            return tokens
        extra, patches = tokens.split(
            [self.num_extra_tokens, tokens.shape[1] - self.num_extra_tokens], dim=1
        )
        patches = patches.mT.unflatten(2, self.patch_grid)
        patches = F.interpolate(patches, grid, mode='bilinear', align_corners=False)
        return torch.cat([extra, patches.flatten(2).mT], dim=1)

    def accompany(
        self, i: int, tokens: Tensor, companion: Tensor, layer: LayerView
    ) -> tuple[Tensor, Tensor | None]:
        """Run layer ``i`` for both streams, see :meth:`BasePrompt.accompany`."""
        if i == 0 and self.dropout.training and self.dropout.p > 0:
            companion = self.dropout(companion.expand(tokens.shape[0], -1, -1))
        adapts = i in self.adapt_layers
        asking, asked = (companion, tokens) if adapts else (tokens, companion)
        answer = layer.meet(asking, asked, self.heads, self.border)
        change = self.bridges[i](answer, asking[:, : answer.shape[1]])
        image = layer.run(tokens)
        other = layer.run(companion) if layer.companion_read else None
        if not adapts:
            return image + self.scale * change, other
        if other is not None:
            if i in self.fresh_layers:
                row = self.fresh_layers.index(i)
                fresh = self._at(self.fresh_tokens[row], layer.grid)
                fresh = layer.run(self.fresh_expand[row](fresh))
                other = other + fresh * self.fresh_scales[row]
            other = other + self.scale * change
        return image, other


def _normal(*shape: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(shape), std=0.02)


def _linear(dims: int, out_dims: int) -> nn.Linear:
    linear = nn.Linear(dims, out_dims)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.normal_(linear.bias, std=1e-6)
    return linear
