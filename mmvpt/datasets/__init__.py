# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Datasets, samplers and transforms; nothing about models."""

from .digit_scenes import export_digit_scenes
from .digits import export_digits
from .fgvc import FGVC
from .images_with_masks import ImagesWithMasks
from .label_maps import LabelMaps
from .listed import ListedDataset
from .multi_label import MultiLabel
from .samplers import Draw, SeededInfiniteSampler, SeededSampler
from .transforms import CheckSegMap, LoadSegMap, SeededTransforms
from .vtab1k import VTAB1k

__all__ = [
    'FGVC',
    'CheckSegMap',
    'Draw',
    'ImagesWithMasks',
    'LabelMaps',
    'ListedDataset',
    'LoadSegMap',
    'MultiLabel',
    'SeededInfiniteSampler',
    'SeededSampler',
    'SeededTransforms',
    'VTAB1k',
    'export_digit_scenes',
    'export_digits',
]
