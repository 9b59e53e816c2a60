# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Models: prompts, losses, backbones and what of them trains."""

from . import adapters, data_preprocessor, losses, prompts, seg
from . import vit as backbones
from .vit import PromptedVisionTransformer

__all__ = [
    'PromptedVisionTransformer',
    'adapters',
    'backbones',
    'data_preprocessor',
    'losses',
    'prompts',
    'seg',
]
