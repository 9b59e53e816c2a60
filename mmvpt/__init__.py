# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""mmvpt: frozen Vision Transformers tuned by visual prompts, inside OpenMMLab."""

from .version import __version__

__all__ = ['__version__']
