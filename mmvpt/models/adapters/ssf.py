# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""SSF: scale and shift what every operation of the frozen ViT puts out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mmvpt.registry import ADAPTERS

from .base import Alteration, BaseAdapter, running_layers


class ScaleShift(Alteration):
    r""":math:`\gamma \odot y + \beta` along one axis.

    Args:
        dims: Channels of the output.
        axis: Where they lie: -1, or 1 for a convolution.
    """

    def __init__(self, dims: int, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis
        self.scale = nn.Parameter(torch.empty(dims).normal_(1, 0.02))
        self.shift = nn.Parameter(torch.empty(dims).normal_(0, 0.02))

    def forward(self, x: Tensor, y: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return the output scaled and shifted, of the shape of ``y``."""
        shape = [1] * y.dim()
        shape[self.axis] = -1
        scale, shift = (p[rows].view(shape) for p in (self.scale, self.shift))
        return y * scale + shift


@ADAPTERS.register_module()
class SSF(BaseAdapter):
    r"""Scaling and shifting features, :math:`\gamma \odot y + \beta`.

    Scaling & Shifting Your Features (arXiv 2210.08823), section 3.2: behind the patch
    embedding, every norm and every linear layer of the encoder.
    :math:`\gamma \sim N(1, 0.02)` and :math:`\beta \sim N(0, 0.02)` at first.
    """

    def alterations(self, host: nn.Module) -> Iterator[tuple[nn.Module, Alteration]]:
        """Yield every norm and linear layer of the encoder."""
        dims = host.embed_dims
        yield host.patch_embed.projection, ScaleShift(dims, axis=1)
        for layer in running_layers(host):
            roles = layer.modules_by_role()
            for module in (m for modules in roles.values() for m in modules):
                width = getattr(module, 'out_features', None)
                yield module, ScaleShift(width or module.normalized_shape[0])
        if host.final_norm and host.out_indices[-1] == host.num_layers - 1:
            yield host.ln1, ScaleShift(dims)
