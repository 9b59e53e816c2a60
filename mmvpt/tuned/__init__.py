# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Tuned-only checkpoints: what training wrote, without the frozen weights."""

from mmvpt.models.fingerprint import Fingerprint, FingerprintError

from .checkpoint import (
    FORMAT_VERSION,
    META_KEY,
    TunedCheckpoint,
    collect,
    fingerprints,
    frozen_backbones,
    frozen_names,
    load_tuned,
    read_tuned,
    released,
    training_names,
    unmarked,
)

__all__ = [
    'FORMAT_VERSION',
    'META_KEY',
    'Fingerprint',
    'FingerprintError',
    'TunedCheckpoint',
    'collect',
    'fingerprints',
    'frozen_backbones',
    'frozen_names',
    'load_tuned',
    'read_tuned',
    'released',
    'training_names',
    'unmarked',
]
