# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Transforms."""

from .check_seg_map import CheckSegMap
from .load_seg_map import LoadSegMap
from .resize import BilinearResize
from .seeded import SeededTransforms

__all__ = ['BilinearResize', 'CheckSegMap', 'LoadSegMap', 'SeededTransforms']
