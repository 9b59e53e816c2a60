# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Own tasks whose images have any number of classes."""

from __future__ import annotations

import os

import numpy as np

from mmvpt.errors import UserError
from mmvpt.registry import DATASETS

from .listed import Entry, ListedDataset
from .vtab1k import read_list


@DATASETS.register_module()
class MultiLabel(ListedDataset):
    """An own task whose images have any number of classes, none included.

    The layout is that of own tasks with one class, see :class:`VTAB1k`; lines are
    'path labels', labels divided by commas, or '-' for none: ``photos/3.jpg 0,4``.
    Samples have ``gt_score``, float32 (K,), 1 for the classes of the image and else 0,
    which mmpretrain's multi-label heads and metrics read.

    Args:
        split: Name of a list file in the folder, without '.txt'.
        data_root: Folder of the lists and of ``classes.txt``.
        image_root: Folder that the paths in lists are relative to, by default that of
            the lists.
        **kwargs: ``pipeline``, ``classes``, ``num_classes``, ``cache_images``, ... of
            :class:`ListedDataset`.

    Raises:
        FileNotFoundError: If folder, list or listed images are missing.
        ValueError: If a line is malformed or a label is out of range.
    """

    def __init__(
        self,
        split: str = 'train',
        data_root: str | os.PathLike = 'data',
        *,
        image_root: str | os.PathLike | None = None,
        **kwargs,
    ) -> None:
        self.split = split
        super().__init__(data_root, image_root=image_root, **kwargs)

    def read_entries(self) -> list[Entry]:
        """Return the listed images in the order of the list."""
        path = self.folder / f'{self.split}.txt'
        if not path.is_file():
            raise UserError(f'List {str(path)!r} does not exist.')
        return read_list(path, _labels, 'path label,label')

    def get_data_info(self, idx: int) -> dict:
        """Return what is known of an image, its classes as ``gt_score``."""
        info = super().get_data_info(idx)
        scores: np.ndarray = np.zeros(self.num_classes, np.float32)
        scores[list(info.pop('gt_label'))] = 1
        return dict(info, gt_score=scores)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the classes of an image."""
        return [int(i) for i in np.flatnonzero(self.get_data_info(idx)['gt_score'])]


def _labels(word: str) -> tuple[int, ...]:
    return () if word == '-' else tuple(int(part) for part in word.split(','))
