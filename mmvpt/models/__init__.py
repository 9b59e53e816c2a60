# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Models: prompts, losses, backbones and what of them trains."""

from . import adapters, backbones, data_preprocessor, losses, prompts

__all__ = ['adapters', 'backbones', 'data_preprocessor', 'losses', 'prompts']
