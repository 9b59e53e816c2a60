# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Pretrained weights: known checkpoints, and converting them to mmpretrain's names."""

from .architecture import (
    ACTIVATIONS,
    ARCHITECTURES,
    Architecture,
    ConversionError,
)
from .convert import Converted, convert, convert_file
from .families import FAMILIES
from .formats import FORMATS
from .known import KNOWN_CHECKPOINTS, KnownCheckpoint
from .names import normalization, read_weights, resolve
from .normalization import NORMALIZATIONS, Normalization, as_normalization

__all__ = [
    'ACTIVATIONS',
    'ARCHITECTURES',
    'FAMILIES',
    'FORMATS',
    'KNOWN_CHECKPOINTS',
    'NORMALIZATIONS',
    'Architecture',
    'ConversionError',
    'Converted',
    'KnownCheckpoint',
    'Normalization',
    'as_normalization',
    'convert',
    'convert_file',
    'normalization',
    'read_weights',
    'resolve',
]
