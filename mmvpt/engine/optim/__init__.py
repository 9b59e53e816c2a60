# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Optimizer wrappers, their constructor, and learning rate schedules."""

from .autocast_optim_wrapper import AutocastOptimWrapper
from .timm_cosine_lr import TimmCosineLR
from .tuned_optim_wrapper_constructor import TunedOptimWrapperConstructor
from .warmup_cosine_lr import WarmupCosineLR

__all__ = [
    'AutocastOptimWrapper',
    'TimmCosineLR',
    'TunedOptimWrapperConstructor',
    'WarmupCosineLR',
]
