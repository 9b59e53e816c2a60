# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Samplers whose draws carry the seed of their augmentation."""

from .class_balanced import ClassBalancedBatchSampler, ClassMeansSampler
from .seeded import Draw, SeededInfiniteSampler, SeededSampler, draw_seed

__all__ = [
    'ClassBalancedBatchSampler',
    'ClassMeansSampler',
    'Draw',
    'SeededInfiniteSampler',
    'SeededSampler',
    'draw_seed',
]
