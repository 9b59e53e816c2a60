# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Datasets, samplers and transforms; nothing about models."""

from . import samplers, transforms

__all__ = ['samplers', 'transforms']
