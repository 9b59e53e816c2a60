# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Models: prompts, losses, backbones and what of them trains."""

from . import backbones, data_preprocessor, losses, prompts

__all__ = ['backbones', 'data_preprocessor', 'losses', 'prompts']
