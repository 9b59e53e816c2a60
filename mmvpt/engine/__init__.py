# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What runs around a model: hooks, loops, optimizer wrappers."""

from . import hooks, loops, optim

__all__ = ['hooks', 'loops', 'optim']
