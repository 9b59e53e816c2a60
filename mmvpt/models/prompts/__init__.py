# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prompt methods: one paper, one file, one registered class."""

from .adaptive import AdaptivePrompt
from .base import BasePrompt
from .bilinear import BilinearPrompt
from .distribution_aware import DistributionAwarePrompt
from .evolving import EvolvingPrompt
from .fourier import FourierPrompt
from .gated import GatedPrompt
from .relocated import RelocatedPrompt
from .self_prompt import SelfPrompt
from .vipamin import VipaminPrompt
from .vpt import DeepPrompt, ShallowPrompt

__all__ = [
    'AdaptivePrompt',
    'BasePrompt',
    'BilinearPrompt',
    'DeepPrompt',
    'DistributionAwarePrompt',
    'EvolvingPrompt',
    'FourierPrompt',
    'GatedPrompt',
    'RelocatedPrompt',
    'SelfPrompt',
    'ShallowPrompt',
    'VipaminPrompt',
]
