# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Mask2Former with queries from a prompt; needs mmsegmentation and mmdetection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmseg.models.decode_heads import Mask2FormerHead
from torch import Tensor, nn

from mmvpt.errors import UserError


class LinkedMask2FormerHead(Mask2FormerHead):
    """mmsegmentation's ``Mask2FormerHead`` whose queries are those of a prompt.

    The last of its inputs are queries q (M, Q), the same for all images. They are the
    positional embedding of the queries in every decoder layer; their content is
    ``query_feat_proj`` (q), or learned as in Mask2Former. So a prompt learns through
    the maps and through the queries.

    Source: `Rein <https://arxiv.org/abs/2312.04265>`_, section on token links.

    Args:
        replace_query_feat: Whether the content of queries comes from them, too.
        **settings: Those of ``Mask2FormerHead``, with ``num_queries`` M and
            ``feat_channels`` Q.
    """

    def __init__(self, replace_query_feat: bool = True, **settings) -> None:
        super().__init__(**settings)
        self.query_embed = _Given()
        self.query_feat_proj = None
        if replace_query_feat:
            self.query_feat = _Given()
            dims = settings['feat_channels']
            self.query_feat_proj = nn.Linear(dims, dims)

    @property
    def query_shape(self) -> tuple[int, int]:
        """Number and width of the queries that it takes, (M, Q)."""
        return self.num_queries, self.cls_embed.in_features

    def forward(
        self, x: Sequence[Tensor], batch_data_samples: Any
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return class scores and masks of every decoder layer.

        Args:
            x: Maps of the pyramid (B, C, H, W), then queries (M, Q).
            batch_data_samples: Data samples, as mmsegmentation gives them.

        Raises:
            UserError: If the last input are no queries of this head's number and width.
        """
        *maps, queries = x
        if tuple(queries.shape) != self.query_shape:
            raise UserError(
                f'LinkedMask2FormerHead got queries {tuple(queries.shape)} and takes '
                f'{self.query_shape}: num_queries and feat_channels must be num_tokens '
                'and query_dims of the RefiningPrompt.'
            )
        self.query_embed.weight = queries
        if self.query_feat_proj is not None:
            self.query_feat.weight = self.query_feat_proj(queries)
        try:
            return super().forward(maps, batch_data_samples)
        finally:
            for given in (self.query_embed, self.query_feat):
                if isinstance(given, _Given):
                    given.weight = None


class _Given(nn.Module):
    """Stands where an embedding was; its weight is there during a forward."""

    weight: Tensor | None = None
