# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Masks that do not fit their image or their classes are named, not trained on."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from mmvpt.errors import UserError
from mmvpt.registry import TRANSFORMS

#: What mmseg leaves out of losses and metrics.
IGNORED = 255
# Pillow's names of images with one channel of at most 8 bits.
_MODES = ('1', 'L', 'P')


@TRANSFORMS.register_module()
class CheckSegMap(BaseTransform):
    """Raises for a mask that is no map of class indices of its image.

    Stands right after mmseg's ``LoadAnnotations``, which keeps the low eight bits of a
    deeper mask, all channels of a coloured one and any size and value. Training would
    then end in an index error of the loss, on a GPU in a failed assertion without a
    file name, or go on with wrong labels.

    Args:
        num_classes: Number of classes (K). After ``LoadAnnotations`` values must be 0
            to K - 1, or 255 where a pixel does not count.

    Raises:
        UserError: If ``num_classes`` is not between 1 and 254; or with the name of
            the mask, if it is not one channel of eight bits, has another size than the
            image, or holds a value that is no class.
    """

    def __init__(self, num_classes: int) -> None:
        if not 1 <= num_classes < IGNORED:
            raise UserError(
                f'num_classes must be between 1 and {IGNORED - 1}, got {num_classes}.'
            )
        self.num_classes = num_classes

    def transform(self, results: dict) -> dict:
        """Check one sample; an image without a mask passes.

        Args:
            results: The sample, with ``seg_map_path``, ``gt_seg_map`` (H, W) and the
                ``ori_shape`` of the image.
        """
        if 'gt_seg_map' not in results:
            if 'seg_map_path' not in results:  # an image alone, to be predicted
                return results
            raise UserError(
                'CheckSegMap found no gt_seg_map: it stands after LoadAnnotations.'
            )
        path, seg_map = results['seg_map_path'], results['gt_seg_map']
        with Image.open(path) as file:  # reads the header alone
            mode = file.mode
        if mode not in _MODES or seg_map.ndim != 2:
            raise UserError(
                f'{path}: the mask has mode {mode!r}, but must have one channel of '
                f'eight bits (Pillow modes {", ".join(_MODES)}), each pixel the index '
                'of its class. Write colours or 16 bit values as indices first.'
            )
        if seg_map.shape != tuple(results['ori_shape']):
            (height, width), image = seg_map.shape, results['ori_shape']
            raise UserError(
                f'{path}: the mask has {width}x{height} pixels, but the image '
                f'{results.get("img_path", "")} has {image[1]}x{image[0]}. Masks must '
                'have the size of their image.'
            )
        counts = np.bincount(seg_map.ravel(), minlength=IGNORED + 1)
        beyond = counts[self.num_classes : IGNORED]
        wrong: np.ndarray = np.flatnonzero(beyond) + self.num_classes
        if len(wrong):
            raise UserError(self._describe(path, results, counts, wrong))
        return results

    def _describe(
        self, path: str, results: dict, counts: np.ndarray, wrong: np.ndarray
    ) -> str:
        shift = int(bool(results.get('reduce_zero_label')))
        values = ', '.join(str(value + shift) for value in wrong[:5])
        more = ', ...' if len(wrong) > 5 else ''
        zero = ' (0 does not count: reduce_zero_label)' if shift else ''
        return (
            f'{path}: {counts[wrong].sum()} pixels hold {values}{more}, but '
            f'num_classes={self.num_classes} allows {shift} to '
            f'{self.num_classes - 1 + shift}{zero}, and {IGNORED} for pixels that do '
            'not count. Correct the mask, or num_classes of the model and of '
            'CheckSegMap.'
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_classes={self.num_classes})'
