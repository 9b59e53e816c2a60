# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prompt methods: one paper, one file, one registered class."""

from .adaptive import AdaptivePrompt
from .base import BasePrompt
from .bilinear import BilinearPrompt
from .cross import CrossPrompt
from .distribution_aware import DistributionAwarePrompt
from .evolving import EvolvingPrompt
from .fourier import FourierPrompt
from .gated import GatedPrompt
from .key_value import KeyValuePrompt, prune_counts
from .refining import RefiningPrompt
from .relocated import RelocatedPrompt
from .self_prompt import SelfPrompt
from .spatial import SpatialPrompt
from .vipamin import VipaminPrompt
from .vpt import DeepPrompt, ShallowPrompt

__all__ = [
    'AdaptivePrompt',
    'BasePrompt',
    'BilinearPrompt',
    'CrossPrompt',
    'DeepPrompt',
    'DistributionAwarePrompt',
    'EvolvingPrompt',
    'FourierPrompt',
    'GatedPrompt',
    'KeyValuePrompt',
    'RefiningPrompt',
    'RelocatedPrompt',
    'SelfPrompt',
    'ShallowPrompt',
    'SpatialPrompt',
    'VipaminPrompt',
    'prune_counts',
]
