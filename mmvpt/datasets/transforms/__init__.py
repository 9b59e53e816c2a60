# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Transforms."""

from .check_seg_map import CheckSegMap
from .seeded import SeededTransforms

__all__ = ['CheckSegMap', 'SeededTransforms']
