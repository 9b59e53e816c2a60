# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Masks as they were stored, beside images as they are shown."""

from __future__ import annotations

from mmcv.transforms import BaseTransform

from mmvpt.datasets.image_files import read_header
from mmvpt.datasets.seg_maps import IGNORED, read_seg_map, turned
from mmvpt.errors import one_of
from mmvpt.registry import TRANSFORMS

DRAWN = ('shown', 'stored')


@TRANSFORMS.register_module()
class LoadSegMap(BaseTransform):
    """Read the mask of an image; takes the place of mmseg's ``LoadAnnotations``.

    Both give the same ``gt_seg_map``, uint8 (H, W), for PNG files of eight bits. This
    one keeps the numbers of grey files with fewer bits, turns a mask as its EXIF
    orientation says, and refuses what holds no indices of classes (colours, 16 bits,
    JPEG). An image without a mask passes.

    Args:
        drawn_on: What masks were drawn on, for images with an EXIF orientation:
            ``'shown'``, the image as viewers show it and loaders read it; or
            ``'stored'``, its pixels as they lie in the file: the mask is turned too.
        reduce_zero_label: Map 0 to 255, which does not count, and lower the others by
            one; by default what the data set says.

    Raises:
        UserError: For another ``drawn_on``, or a file that is no mask.
    """

    def __init__(
        self, drawn_on: str = 'shown', reduce_zero_label: bool | None = None
    ) -> None:
        one_of('drawn_on', drawn_on, DRAWN)
        self.drawn_on = drawn_on
        self.reduce_zero_label = reduce_zero_label

    def transform(self, results: dict) -> dict:
        """Add ``gt_seg_map`` to one sample.

        Args:
            results: The sample, with ``seg_map_path`` and, for ``drawn_on='stored'``,
                ``img_path``.
        """
        if 'seg_map_path' not in results:  # an image alone, to be predicted
            return results
        mask = read_seg_map(results['seg_map_path'])
        if self.drawn_on == 'stored':
            header = read_header(results['img_path'])
            mask = turned(mask, header.orientation if header else 1).copy()
        reduced = self.reduce_zero_label
        if results.get('reduce_zero_label') if reduced is None else reduced:
            mask = mask - 1  # 0 becomes 255
            mask[mask == IGNORED - 1] = IGNORED
        stored = mask.copy()
        for old, new in (results.get('label_map') or {}).items():
            mask[stored == old] = new
        results['gt_seg_map'] = mask
        results['seg_map_as_shown'] = True  # CheckSegMap need not ask
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(drawn_on={self.drawn_on!r})'
