# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A user's images, as they lie, to lists of training, validation and test images."""

from .folders import read_folder
from .found import Found, OwnImage
from .layouts import Part, find_parts
from .lists import Lists, check_target, read_names, write_aside
from .masks import DRAWN, FoundMasks, find_pairs, palette_of, read_masks
from .readable import check_images, note_copies
from .split import group_rare, split_images, split_labelled, split_pairs
from .table import read_table

__all__ = [
    'DRAWN',
    'Found',
    'FoundMasks',
    'Lists',
    'OwnImage',
    'Part',
    'check_images',
    'check_target',
    'find_pairs',
    'find_parts',
    'group_rare',
    'note_copies',
    'palette_of',
    'read_folder',
    'read_masks',
    'read_names',
    'read_table',
    'split_images',
    'split_labelled',
    'split_pairs',
    'write_aside',
]
