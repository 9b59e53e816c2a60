# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A feature pyramid without parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.registry import MODELS


@MODELS.register_module()
class ResizePyramid(nn.Module):
    """Resize each map of a plain ViT by a factor of its own, bilinearly.

    Source: `Rein <https://arxiv.org/abs/2312.04265>`_, released code
    (``align_corners=False``, no antialiasing).

    Args:
        scales: Factors, one for each map; patches of 16 pixels become strides 4, 8, 16
            and 32 by default.

    Raises:
        UserError: If a factor is not positive.
    """

    def __init__(self, scales: Sequence[float] = (4, 2, 1, 0.5)) -> None:
        super().__init__()
        if not scales or min(scales) <= 0:
            raise UserError(f'scales must be positive, got {scales!r}.')
        self.scales = tuple(scales)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Resize maps (B, C, H, W); what is no map, as queries (M, Q), passes.

        Raises:
            UserError: If there are not as many maps as factors.
        """
        maps = [x for x in inputs if x.dim() == 4]
        if len(maps) != len(self.scales):
            raise UserError(
                f'ResizePyramid has {len(self.scales)} scales for {len(maps)} maps: '
                'give one for each of out_indices of the backbone.'
            )
        resized = [
            x
            if scale == 1
            else F.interpolate(
                x, scale_factor=scale, mode='bilinear', align_corners=False
            )
            for x, scale in zip(maps, self.scales)
        ]
        return (*resized, *(x for x in inputs if x.dim() != 4))
