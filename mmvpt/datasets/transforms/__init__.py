# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Transforms."""

from .seeded import SeededTransforms

__all__ = ['SeededTransforms']
