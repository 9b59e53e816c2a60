# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Checkpoints: reading them safely, tuned-only files, which frozen weights they fit."""

from .reading import TRUST_ENV, CheckpointError, read_checkpoint, use_safe_loading

__all__ = ['TRUST_ENV', 'CheckpointError', 'read_checkpoint', 'use_safe_loading']
