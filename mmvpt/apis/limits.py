# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""How large an image may be when it enters the model."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, prod
from typing import Any

from torch import nn

from mmvpt.checkpoint.meaning import num_classes, patch_projection

from .images import ImageError

#: Patches that are run at once, 2048 x 2048 pixels in patches of 16. Attention takes
#: time that grows with their square: a 9000 x 9000 image would run for hours.
MAX_PATCHES = 16_384
#: Scores of a segmentation, one for each class and pixel; in float32 these are 8.6 GB.
MAX_SCORES = 2**31


def check_input(name: str, model: nn.Module, sample: Mapping[str, Any]) -> None:
    """Refuse an image that would take the model hours or all memory."""
    height, width = sample['inputs'].shape[-2:]
    rows, columns = getattr(patch_projection(model), 'stride', (16, 16))
    patches = ceil(height / rows) * ceil(width / columns)
    if patches > MAX_PATCHES and not slides(model):
        raise ImageError(
            f'{name} enters the model with {width} x {height} pixels, which are '
            f'{patches:,} patches; at most {MAX_PATCHES:,} are run. Make it smaller, '
            'or put a Resize into the test pipeline of the config.'
        )
    if not hasattr(model, 'decode_head'):
        return
    original = sample['data_samples'].metainfo.get('ori_shape', (height, width))
    pixels = max(height * width, prod(original[:2]))
    scores = pixels * (num_classes(model) or 1)
    if scores > MAX_SCORES:
        raise ImageError(
            f'{name} has {pixels:,} pixels, for which all classes together get '
            f'{scores:,} scores; at most {MAX_SCORES:,} are computed. Make it smaller '
            'or cut it into pieces.'
        )


def slides(model: nn.Module) -> bool:
    """Whether a segmentor runs its backbone on windows of the image."""
    test_cfg = getattr(model, 'test_cfg', None)
    return isinstance(test_cfg, Mapping) and test_cfg.get('mode') == 'slide'
