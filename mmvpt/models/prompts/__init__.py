# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prompt methods: one paper, one file, one registered class."""

from .adaptive import AdaptivePrompt
from .base import BasePrompt
from .bilinear import BilinearPrompt
from .distribution_aware import DistributionAwarePrompt
from .fourier import FourierPrompt
from .gated import GatedPrompt
from .vpt import DeepPrompt, ShallowPrompt

__all__ = [
    'AdaptivePrompt',
    'BasePrompt',
    'BilinearPrompt',
    'DeepPrompt',
    'DistributionAwarePrompt',
    'FourierPrompt',
    'GatedPrompt',
    'ShallowPrompt',
]
