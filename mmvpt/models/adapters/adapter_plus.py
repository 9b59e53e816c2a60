# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Adapter+: a bottleneck behind every layer, scaled per channel."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.drop import DropPath
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.registry import ADAPTERS

from .base import Alteration, BaseAdapter, running_layers

STD = 0.01  # of the truncated normal initialisation (Houlsby et al.)


class Bottleneck(Alteration):
    r""":math:`y + s \odot (U\,\mathrm{GELU}(D y + a) + b)`.

    Args:
        dims: Channels (C).
        inner: Width of the bottleneck (r).
        drop_path_rate: Stochastic depth of the added branch.
    """

    def __init__(self, dims: int, inner: int, drop_path_rate: float) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(inner, dims))
        self.up = nn.Parameter(torch.empty(dims, inner))
        for weight in (self.down, self.up):
            nn.init.trunc_normal_(weight, std=STD, a=-2 * STD, b=2 * STD)
        self.down_bias = nn.Parameter(torch.zeros(inner))
        self.up_bias = nn.Parameter(torch.zeros(dims))
        self.scale = nn.Parameter(torch.ones(dims))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, y: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return the output of the layer with the branch added, (B, T, C)."""
        inner = F.gelu(F.linear(y, self.down, self.down_bias))
        branch = F.linear(inner, self.up, self.up_bias)
        return y + self.drop_path(branch) * self.scale


@ADAPTERS.register_module()
class AdapterPlus(BaseAdapter):
    r"""A bottleneck behind every encoder layer: :math:`y + s \odot (U g(D y + a) + b)`.

    Adapters Strike Back (arXiv 2406.06820): "post" position, that is on the sum of MLP
    and residual; s a learned scale for each channel; Houlsby's initialisation with
    standard deviation 0.01.

    Args:
        rank: Width of the bottleneck (r); 8 is the paper's default on VTAB.
        drop_path_rate: Stochastic depth of the branch; the paper trains with 0.1.

    Raises:
        UserError: For a rank below 1 or a rate beyond [0, 1).
    """

    def __init__(self, rank: int = 8, drop_path_rate: float = 0.0) -> None:
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise UserError(f'rank must be an integer of at least 1, got {rank!r}.')
        if not 0 <= drop_path_rate < 1:
            raise UserError(f'drop_path_rate must be in [0, 1), got {drop_path_rate}.')
        self.rank, self.drop_path_rate = rank, float(drop_path_rate)

    def alterations(self, host: nn.Module) -> Iterator[tuple[nn.Module, Alteration]]:
        """Yield the MLP of every layer, whose output holds the residual."""
        for layer in running_layers(host):
            yield (
                layer.ffn,
                Bottleneck(host.embed_dims, self.rank, self.drop_path_rate),
            )
