# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prompt methods: one paper, one file, one registered class."""

from .adaptive import AdaptivePrompt
from .base import BasePrompt
from .distribution_aware import DistributionAwarePrompt
from .gated import GatedPrompt
from .vpt import DeepPrompt, ShallowPrompt

__all__ = [
    'AdaptivePrompt',
    'BasePrompt',
    'DeepPrompt',
    'DistributionAwarePrompt',
    'GatedPrompt',
    'ShallowPrompt',
]
