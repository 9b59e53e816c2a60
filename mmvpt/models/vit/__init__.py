# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Backbones that take prompts."""

from .frozen_host import FrozenHost
from .vit import PromptedVisionTransformer

__all__ = ['FrozenHost', 'PromptedVisionTransformer']
