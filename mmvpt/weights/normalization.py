# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Mean and standard deviation of the images that a backbone was pretrained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmvpt.errors import UserError


@dataclass(frozen=True)
class Normalization:
    """``(image - mean) / std`` for RGB images with values 0 to 255."""

    mean: tuple[float, ...]  # three numbers, red first
    std: tuple[float, ...]  # three numbers, red first

    @classmethod
    def of_unit_range(cls, mean: Sequence[float], std: Sequence[float]):
        """Build it from numbers for images with values 0 to 1, as timm has them."""
        return cls(*(tuple(round(255 * v, 6) for v in part) for part in (mean, std)))

    def is_close(self, other: Normalization) -> bool:
        """Tell whether both are the same to a thousandth of a grey value."""
        ours, theirs = (n.mean + n.std for n in (self, other))
        return len(ours) == len(theirs) and np.allclose(ours, theirs, rtol=0, atol=1e-3)

    def __str__(self) -> str:
        numbers = [', '.join(f'{v:g}' for v in part) for part in (self.mean, self.std)]
        return f'mean ({numbers[0]}), std ({numbers[1]})'


NORMALIZATIONS = {
    # torchvision's numbers; MAE, MoCo v3, DINOv2
    'imagenet': Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    # -1 to 1; Google's ViT, AugReg
    'half': Normalization((127.5,) * 3, (127.5,) * 3),
    'clip': Normalization.of_unit_range(
        (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    ),
    # DINOv3 trained on satellite images (SAT-493M)
    'sat493m': Normalization.of_unit_range((0.43, 0.411, 0.296), (0.213, 0.156, 0.143)),
}


def as_normalization(value: str | dict | Normalization) -> Normalization:
    """Read a normalisation as configs and the command line write it.

    Args:
        value: A name (``imagenet``, ``half``, ``clip``) or a dict with ``mean`` and
            ``std``, three numbers each for images with values 0 to 255.

    Raises:
        UserError: For anything else.
    """
    if isinstance(value, Normalization):
        return value
    if isinstance(value, str) and value in NORMALIZATIONS:
        return NORMALIZATIONS[value]
    if isinstance(value, dict) and set(value) == {'mean', 'std'}:
        parts = [tuple(float(v) for v in value[key]) for key in ('mean', 'std')]
        if all(len(part) == 3 for part in parts) and min(parts[1]) > 0:
            return Normalization(*parts)
    raise UserError(
        f'a normalisation is one of {", ".join(map(repr, NORMALIZATIONS))} or '
        'dict(mean=[R, G, B], std=[R, G, B]) for images with values 0 to 255; got '
        f'{value!r}.'
    )
