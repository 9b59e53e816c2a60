# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Backbones that take prompts."""

from .vit import PromptedVisionTransformer

__all__ = ['PromptedVisionTransformer']
