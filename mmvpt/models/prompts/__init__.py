# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prompt methods: one paper, one file, one registered class."""

from .base import BasePrompt
from .vpt import DeepPrompt, ShallowPrompt

__all__ = ['BasePrompt', 'DeepPrompt', 'ShallowPrompt']
