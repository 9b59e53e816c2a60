# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Several scales from the last feature map of a plain ViT."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from mmpretrain.models.utils import LayerNorm2d
from torch import Tensor, nn


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """The simple feature pyramid of ViTDet: no top-down path, no lateral connections.

    From one map of stride s, a map of stride s / r for each scale r: a transposed
    convolution for 2, two of them with a norm and GELU between for 4, max pooling for
    1/2, nothing for 1. Each is followed by a 1x1 and a 3x3 convolution to
    ``out_channels``, with a LayerNorm over channels after each. Further levels are the
    last one, subsampled by 2 each time.

    Source: Li et al., `Exploring Plain Vision Transformer Backbones for Object
    Detection <https://arxiv.org/abs/2203.16527>`_, section 3 and appendix A.2; written
    from the paper.

    Args:
        in_channels: Channels of the ViT (C).
        out_channels: Channels of every level.
        scales: Of 4, 2, 1 and 0.5, descending.
        num_outs: Number of levels, at least that of the scales.
        init_cfg: As for every module of OpenMMLab.

    Raises:
        ValueError: If a scale is none of the four, they do not descend, or there are
            fewer levels than scales.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        num_outs: int = 5,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if list(scales) != sorted({*scales} & {4, 2, 1, 0.5}, reverse=True):
            raise ValueError(
                f'scales must be of 4, 2, 1, 0.5, descending; got {scales}'
            )
        if num_outs < len(scales):
            raise ValueError(
                f'num_outs must be at least the {len(scales)} scales, got {num_outs}'
            )
        self.num_outs = num_outs
        self.levels = nn.ModuleList(
            _level(in_channels, out_channels, scale) for scale in scales
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the levels, finest first, each (B, out_channels, height, width).

        Args:
            inputs: Maps of the backbone, (B, C, height, width); the last one is used.
        """
        outs = [level(inputs[-1]) for level in self.levels]
        while len(outs) < self.num_outs:
            outs.append(F.max_pool2d(outs[-1], kernel_size=1, stride=2))
        return tuple(outs)


def _level(in_channels: int, out_channels: int, scale: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = in_channels
    if scale == 4:
        layers += [
            nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2),
            LayerNorm2d(channels // 2),
            nn.GELU(),
        ]
        channels //= 2
    if scale >= 2:
        layers.append(
            nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2)
        )
        channels //= 2
    if scale == 0.5:
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return nn.Sequential(
        *layers,
        nn.Conv2d(channels, out_channels, kernel_size=1, bias=False),
        LayerNorm2d(out_channels),
        nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(out_channels),
    )
