# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What runs around a model: training and testing, hooks, loops, optimizer wrappers."""

from importlib import import_module

__all__ = ['hooks', 'loops', 'optim', 'test', 'train']


def __getattr__(name: str):
    """Import what is asked for: to read a config nothing of it is needed."""
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    if name in ('test', 'train'):
        return getattr(import_module('.run', __name__), name)
    return import_module(f'.{name}', __name__)
