# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""mmvpt: frozen Vision Transformers tuned by visual prompts, inside OpenMMLab."""

from importlib import import_module

from . import moved
from .version import __version__

__all__ = ['__version__', 'load', 'prompted']

moved.install()


def __getattr__(name: str):
    """Import ``load`` and ``prompted`` when first used; they need all of OpenMMLab."""
    if name in ('load', 'prompted'):
        return getattr(import_module('.apis', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
