# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What runs around a model: training and testing, hooks, loops, optimizer wrappers."""

from . import hooks, loops, optim
from .run import test, train

__all__ = ['hooks', 'loops', 'optim', 'test', 'train']
