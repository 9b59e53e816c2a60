# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Rein: tokens that refine the patches between layers (Wei et al., CVPR 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.registry import PROMPTS

from .base import BasePrompt, patch_uniform_, positive
from .depth import chosen_layers


@PROMPTS.register_module()
class RefiningPrompt(BasePrompt):
    r"""Tokens that never enter a layer and rewrite what it left at the patches.

    With X (B, N, C) what layer i wrote at the patches and its tokens :math:`T_i`,

    .. math::
        S &= \mathrm{softmax}_m(X T_i^T / \sqrt C) \\
        D &= S_{1:} (T_i[1:] W_t^T + b_t) \\
        X' &= X + s ((D + X) W_f^T + b_f)

    Token 0 is a sink: it takes weight in the softmax and gives nothing. Both linear
    maps and the scale s are shared by all layers. CLS passes as it is; with CLS pooling
    the refinement behind the last layer reaches nothing.

    Queries for Mask2Former: with :math:`Z_i = T_i W_q^T + b_q`, input channel 3c + k of
    ``query_merge`` is channel c of the maximum over layers, their mean, and the last.

    Parameters: ``tokens`` (L, M, C), or ``token_rows`` (L, M, r) and ``token_basis``
    (L, r, C) with :math:`T_i = A_i B_i`; ``token_proj``, ``feature_proj``, ``scale``;
    with ``query_dims`` ``query_proj`` and ``query_merge``. L counts refined layers.

    Source: `Rein <https://arxiv.org/abs/2312.04265>`_; divisor, sink, scale, sharing
    and initialisation as its released code has them.

    Args:
        num_tokens: Tokens of each layer (M), the sink among them.
        rank: Rank of the tokens (r); None for plain ones.
        query_dims: Width of queries for a head that takes them (Q); None for none.
        softmax: Whether weights are a softmax of scaled products, or bare products.
        scale_init: What the scale starts from, 0.001 if None.
        zero_init: Start with :math:`W_f = b_f = 0` and no scale instead.
        layers: Layers whose patches are refined, ascending; all if None.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: For a count, rank, layer or combination that is not allowed.
    """

    refines = True

    def __init__(
        self,
        num_tokens: int = 100,
        rank: int | None = 16,
        query_dims: int | None = None,
        softmax: bool = True,
        scale_init: float | None = None,
        zero_init: bool = False,
        layers: Sequence[int] | None = None,
        **host,
    ) -> None:
        super().__init__(**host)
        positive(num_tokens=num_tokens)
        if num_tokens < 2:
            raise UserError(
                'num_tokens must be at least 2, got 1: token 0 only takes weight, so '
                'nothing would be added.'
            )
        if zero_init and scale_init is not None:
            raise UserError(
                f'zero_init has no scale, got scale_init={scale_init}: give one.'
            )
        chosen = chosen_layers('layers', layers, self.num_layers)
        self._rows = {layer: row for row, layer in enumerate(chosen)}
        self.num_tokens, self.rank, self.softmax = num_tokens, rank, softmax
        self.query_dims = query_dims
        depth, dims = len(self._rows), self.embed_dims
        if rank is None:
            tokens = torch.empty(depth, num_tokens, dims)
            self.tokens = nn.Parameter(patch_uniform_(tokens, self.patch_size))
        else:
            self._check_rank(rank)
            bound = math.sqrt(6 / (3 * self.patch_size**2 + math.sqrt(dims * rank)))
            for name, shape in (
                ('token_rows', (depth, num_tokens, rank)),
                ('token_basis', (depth, rank, dims)),
            ):
                factor = nn.init.uniform_(torch.empty(shape), -bound, bound)
                setattr(self, name, nn.Parameter(factor))
        self.token_proj = nn.Linear(dims, dims)
        self.feature_proj = nn.Linear(dims, dims)
        if zero_init:
            nn.init.zeros_(self.feature_proj.weight)
            nn.init.zeros_(self.feature_proj.bias)
            self.register_parameter('scale', None)
        else:
            self.scale = nn.Parameter(
                torch.tensor(0.001 if scale_init is None else float(scale_init))
            )
        if query_dims is not None:
            positive(query_dims=query_dims)
            self.query_proj = nn.Linear(dims, query_dims)
            self.query_merge = nn.Linear(3 * query_dims, query_dims)

    def _check_rank(self, rank: int) -> None:
        positive(rank=rank)
        limit = min(self.num_tokens, self.embed_dims)
        if rank >= limit:
            raise UserError(
                f"rank must be below {limit}, the smaller of num_tokens and the ViT's "
                f'channels, got {rank}: it would restrict nothing. Use rank=None for '
                'plain tokens.'
            )

    @property
    def last_layer(self) -> int:
        """The last of ``layers``."""
        return max(self._rows)

    def layer_tokens(self, i: int) -> Tensor:
        """Return the tokens behind layer ``i``, (M, C)."""
        row = self._rows[i]
        if self.rank is None:
            return self.tokens[row]
        return self.token_rows[row] @ self.token_basis[row]

    def constants(self, i: int) -> tuple[Tensor, ...]:
        r"""Return what patches are compared with and what they take behind layer ``i``.

        Returns:
            Tokens, over :math:`\sqrt C` for a softmax, (M, C); and
            :math:`(T_i[1:] W_t^T + b_t) W_f^T`, (M - 1, C). Nothing where the layer
            is not refined.
        """
        if i not in self._rows:
            return ()
        tokens = self.layer_tokens(i)
        values = self.token_proj(tokens[1:]) @ self.feature_proj.weight.mT
        if self.softmax:
            tokens = tokens / math.sqrt(self.embed_dims)
        return tokens, values

    def refine(self, i: int, patches: Tensor, *constants: Tensor) -> Tensor:
        """Return the refined patches (B, N, C) of layer ``i``.

        :math:`(D + X) W_f^T` as :math:`S_{1:} V W_f^T + X W_f^T`.
        """
        if i not in self._rows:
            return patches
        tokens, values = constants or self.constants(i)
        weights = patches @ tokens.mT
        if self.softmax:
            weights = weights.softmax(dim=-1)
        # Not renormalised without the sink: a patch may take next to nothing.
        change = self.feature_proj(patches) + weights[..., 1:] @ values
        if self.scale is None:
            return patches + change
        return torch.addcmul(patches, change, self.scale)

    def queries(self) -> Tensor | None:
        """Return queries for a head, (M, Q), or None without ``query_dims``."""
        if self.query_dims is None:
            return None
        tokens = torch.stack([self.layer_tokens(i) for i in self._rows])
        seen = self.query_proj(tokens)
        merged = torch.stack([seen.amax(0), seen.mean(0), seen[-1]], dim=-1)
        return self.query_merge(merged.flatten(1))
