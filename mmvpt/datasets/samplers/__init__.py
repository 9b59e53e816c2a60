# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Samplers whose draws carry the seed of their augmentation."""

from .seeded import Draw, SeededInfiniteSampler, SeededSampler, draw_seed

__all__ = ['Draw', 'SeededInfiniteSampler', 'SeededSampler', 'draw_seed']
