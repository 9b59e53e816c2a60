# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Models: prompts, losses, backbones and what of them trains."""

from . import adapters, data_preprocessor, losses, prompts, seg
from . import vit as backbones

__all__ = ['adapters', 'backbones', 'data_preprocessor', 'losses', 'prompts', 'seg']
