# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Models: prompts, losses, backbones and what of them trains."""

from . import backbones, losses, prompts

__all__ = ['backbones', 'losses', 'prompts']
