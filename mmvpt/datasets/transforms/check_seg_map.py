# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Masks that do not fit their image or their classes are named, not trained on."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from mmvpt.datasets.image_files import read_header
from mmvpt.datasets.seg_maps import IGNORED, stored_bits, what_is_wrong
from mmvpt.errors import UserError
from mmvpt.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CheckSegMap(BaseTransform):
    """Raises for a mask that is no map of class indices of its image.

    Stands right after :class:`LoadSegMap` or mmseg's ``LoadAnnotations``. The latter
    keeps the low eight bits of a deeper mask, stretches one of fewer bits, and takes
    all channels of a coloured one and any size and value. Training would then end in
    an index error of the loss, on a GPU in a failed assertion without a file name, or
    go on with wrong labels.

    Args:
        num_classes: Number of classes (K). After loading, values must be 0 to K - 1,
            or ``ignore_index`` where a pixel does not count.
        ignore_index: The value of pixels that do not count, that of the heads and of
            the metric.

    Raises:
        UserError: If ``num_classes`` is not between 1 and 254 or ``ignore_index`` is
            one of the classes; or with the name of the mask, if it is not one channel
            of eight bits as stored, has another size than the image, or holds a value
            that is no class.
    """

    def __init__(self, num_classes: int, ignore_index: int = IGNORED) -> None:
        if not 1 <= num_classes < IGNORED:
            raise UserError(
                f'num_classes must be between 1 and {IGNORED - 1}, got {num_classes}.'
            )
        if not num_classes <= ignore_index <= IGNORED:
            raise UserError(
                f'ignore_index must be between num_classes={num_classes} and '
                f'{IGNORED}, got {ignore_index}: lower values are classes.'
            )
        self.num_classes = num_classes
        self.ignore_index = ignore_index

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
                'CheckSegMap found no gt_seg_map: it stands after LoadAnnotations or '
                'mmvpt.LoadSegMap.'
            )
        path, seg_map = results['seg_map_path'], results['gt_seg_map']
        if not results.pop('seg_map_as_shown', False):
            _check_stored(path)
        if seg_map.shape != tuple(results['ori_shape']):
            size, (height, width) = seg_map.shape[1::-1], results['ori_shape']
            raise UserError(
                f'{path}: the mask has {size[0]}x{size[1]} pixels, but the image '
                f'{results.get("img_path", "")} has {width}x{height} as it is shown. '
                'Masks must have the size of their image.'
            )
        counts = np.bincount(seg_map.ravel(), minlength=IGNORED + 1)
        values: np.ndarray = np.flatnonzero(counts)
        wrong = values[(values >= self.num_classes) & (values != self.ignore_index)]
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
            f'{self.num_classes - 1 + shift}{zero}, and {self.ignore_index} '
            f'(ignore_index) for pixels that do not count. Correct the mask, or '
            'num_classes of the model and of CheckSegMap; if another value marks '
            'pixels that do not count, give it as ignore_index to CheckSegMap, the '
            'heads and the metric.'
        )

    def __repr__(self) -> str:
        other = self.ignore_index != IGNORED
        ignored = f', ignore_index={self.ignore_index}' if other else ''
        return f'{type(self).__name__}(num_classes={self.num_classes}{ignored})'


def _check_stored(path: str) -> None:
    """Refuse a file of which ``LoadAnnotations`` reads other values than it holds."""
    with Image.open(path) as file:  # reads the header alone
        wrong = what_is_wrong(file)
        bits = stored_bits(file) if file.mode == 'L' else 8
    header = read_header(path)
    if not wrong and bits < 8:
        wrong = f'has {bits} bits for each pixel, which LoadAnnotations stretches'
    elif not wrong and header and header.orientation != 1:
        wrong = (
            f'has an EXIF orientation ({header.orientation}), which LoadAnnotations '
            'passes over'
        )
    if wrong:
        raise UserError(
            f'{path}: the mask {wrong}. A mask has one channel of eight bits, each '
            'pixel the index of its class; files of fewer bits and turned ones are '
            'read by mmvpt.LoadSegMap in the place of LoadAnnotations.'
        )
