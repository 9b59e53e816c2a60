# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Resizing as TensorFlow 1 does, which published splits of VTAB-1k were read with."""

from __future__ import annotations

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform

from mmvpt.errors import UserError
from mmvpt.registry import TRANSFORMS


@TRANSFORMS.register_module()
class BilinearResize(BaseTransform):
    r"""Resize an image to a fixed size, bilinear, without antialiasing.

    Row or column i of n takes its value at position :math:`i \cdot N / n` of the N of
    the source, between the two pixels there; beyond the last one at the last. This is
    ``tf.compat.v1.image.resize`` (``half_pixel_centers=False``), with which VPT, Gated
    Prompt Tuning and VAPT read VTAB-1k. It looks up to half a source pixel per target
    pixel to the upper left of OpenCV's and PyTorch's rule,
    :math:`(i + 1/2) N / n - 1/2`.

    The result is float32 and not rounded, as there. Masks are not resized.

    Args:
        scale: Width and height of the result.
        half_pixel_centers: Take OpenCV's rule and its rounding to uint8 instead.

    Raises:
        UserError: If ``scale`` is not two positive integers.
    """

    def __init__(
        self, scale: tuple[int, int], half_pixel_centers: bool = False
    ) -> None:
        sides = scale if isinstance(scale, (tuple, list)) else ()
        if len(sides) != 2 or not all(isinstance(s, int) and s > 0 for s in sides):
            raise UserError(
                f'scale must be (width, height) in pixels, such as (224, 224); got '
                f'{scale!r}.'
            )
        self.scale = (sides[0], sides[1])
        self.half_pixel_centers = half_pixel_centers

    def transform(self, results: dict) -> dict:
        """Resize ``results['img']``, (H, W, C) or (H, W), and note its new size."""
        image = results['img']
        height, width = image.shape[:2]
        if self.half_pixel_centers:
            image = mmcv.imresize(image, self.scale, backend='cv2')
        else:
            image = bilinear(image, self.scale)
        results['img'] = image
        results['img_shape'] = image.shape[:2]
        results['scale'] = self.scale
        results['scale_factor'] = (self.scale[0] / width, self.scale[1] / height)
        results['keep_ratio'] = False
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(scale={self.scale}, '
            f'half_pixel_centers={self.half_pixel_centers})'
        )


def bilinear(image: np.ndarray, scale: tuple[int, int]) -> np.ndarray:
    """Resize (H, W, ...) to width and height ``scale`` by TensorFlow 1's rule, float32.

    Rows first, which lie in one piece each; the order changes rounding alone.
    """
    for axis, size in zip((0, 1), scale[::-1]):
        source = image.shape[axis]
        position = np.arange(size, dtype=np.float32) * np.float32(source / size)
        lower = position.astype(np.intp)
        upper = np.minimum(lower + 1, source - 1)
        part = position - lower.astype(np.float32)
        low: np.ndarray = image.take(lower, axis=axis).astype(np.float32, copy=False)
        high: np.ndarray = image.take(upper, axis=axis).astype(np.float32, copy=False)
        high -= low
        high *= part.reshape(-1, *[1] * (image.ndim - 1 - axis))
        high += low
        image = high
    return image
