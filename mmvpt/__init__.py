# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""mmvpt: frozen Vision Transformers tuned by visual prompts, inside OpenMMLab."""

from importlib import import_module

from . import moved
from .version import __version__

__all__ = ['__version__', 'load']

moved.install()


def __getattr__(name: str):
    """Import ``mmvpt.load`` when it is first used; it needs all of OpenMMLab."""
    if name == 'load':
        return import_module('.apis', __name__).load
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
