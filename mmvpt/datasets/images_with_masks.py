# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Images of several endings with masks."""

from __future__ import annotations

import os
from typing import Any

from mmengine.dataset import BaseDataset

from mmvpt.registry import DATASETS

from .text import read_lines


@DATASETS.register_module()
class ImagesWithMasks(BaseDataset):
    """Images and masks for mmseg's models, whose endings may be written in two ways.

    mmseg's ``BaseSegDataset`` puts one ending behind all names. Here a line of the list
    is the path of an image with its ending, below ``data_prefix['img_path']``; its mask
    has the same path with another ending, below ``data_prefix['seg_map_path']``.

    Args:
        ann_file: The list.
        seg_map_suffix: What a mask has in the place of its image's ending.
        reduce_zero_label: Whether the value 0 does not count and 1 is the first class.
        metainfo: ``classes`` and ``palette``.
        **kwargs: ``data_prefix``, ``pipeline``, ... of mmengine's ``BaseDataset``.

    Raises:
        UserError: If the list is missing, empty or no text.
    """

    def __init__(
        self,
        ann_file: str,
        *,
        seg_map_suffix: str = '.png',
        reduce_zero_label: bool = False,
        metainfo: dict | None = None,
        **kwargs,
    ) -> None:
        self.seg_map_suffix = seg_map_suffix
        self.reduce_zero_label = reduce_zero_label
        self.label_map = None
        known = dict(label_map=None, reduce_zero_label=reduce_zero_label)
        super().__init__(ann_file, metainfo=dict(metainfo or {}, **known), **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Return what mmseg's pipelines read of each image."""
        folder, masks = (self.data_prefix[k] for k in ('img_path', 'seg_map_path'))
        return [
            dict(
                img_path=os.path.join(folder, line),
                seg_map_path=os.path.join(
                    masks, os.path.splitext(line)[0] + self.seg_map_suffix
                ),
                label_map=None,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for line in read_lines(self.ann_file)
        ]
