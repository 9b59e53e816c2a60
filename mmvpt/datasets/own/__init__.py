# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A user's images, as they lie, to lists of training, validation and test images."""

from .folders import read_folder
from .found import Found, OwnImage
from .lists import Lists, read_names, write_aside
from .masks import FoundMasks, find_folders, find_pairs, palette_of, read_masks
from .readable import check_images
from .split import group_rare, split_images, split_pairs
from .table import read_table

__all__ = [
    'Found',
    'FoundMasks',
    'Lists',
    'OwnImage',
    'check_images',
    'find_folders',
    'find_pairs',
    'group_rare',
    'palette_of',
    'read_folder',
    'read_masks',
    'read_names',
    'read_table',
    'split_images',
    'split_pairs',
    'write_aside',
]
