# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""From what a config writes to weights: ``mmvpt://NAME``, ``timm://NAME``, a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmvpt.checkpoint import CheckpointError, read_checkpoint

from .convert import convert
from .files import SUFFIXES, metadata_of, read_metadata
from .known import KNOWN_CHECKPOINTS, KnownCheckpoint
from .normalization import NORMALIZATIONS, Normalization, as_normalization
from .timm_source import TIMM_PREFIXES

SCHEME = 'mmvpt://'
FOLDER_ENV = 'MMVPT_CHECKPOINTS'


def checkpoint_folder() -> Path:
    """Return where known checkpoints lie: ``$MMVPT_CHECKPOINTS`` or ``checkpoints``."""
    return Path(os.environ.get(FOLDER_ENV) or 'checkpoints').expanduser()


def known_checkpoint(name: str) -> KnownCheckpoint:
    """Return the entry of a name, with or without ``mmvpt://``.

    Raises:
        CheckpointError: If the name is unknown.
    """
    plain = name.removeprefix(SCHEME)
    if plain not in KNOWN_CHECKPOINTS:
        raise CheckpointError(
            f'{name} is no known checkpoint; known are {", ".join(KNOWN_CHECKPOINTS)}. '
            'A file of your own is named by its path.'
        )
    return KNOWN_CHECKPOINTS[plain]


def resolve(checkpoint: str) -> str:
    """Return the path of ``mmvpt://NAME``, and anything else as it is.

    Raises:
        CheckpointError: If the name is unknown, or its file is not there; then with
            the commands that put it there.
    """
    if not checkpoint.startswith(SCHEME):
        return checkpoint
    known = known_checkpoint(checkpoint)
    folder = checkpoint_folder()
    for suffix in SUFFIXES:
        path = folder / f'{known.name}{suffix}'
        if path.exists():
            return str(path)
    path = folder / f'{known.name}{SUFFIXES[0]}'
    raise CheckpointError(
        f'{checkpoint} ({known.note}; {known.licence}) is not at {path}. Get it:\n'
        f'{commands(known, path)}\n'
        f'or set {FOLDER_ENV} to the folder that has it, or give the path of a file in '
        'model.backbone.init_cfg.checkpoint.'
    )


def commands(known: KnownCheckpoint, path: str | os.PathLike) -> str:
    """Return the command lines that put a known checkpoint at ``path``."""
    lines = [f'  python tools/weights/convert.py {known.source} {path} --to mmvpt']
    if known.url is not None:
        lines.insert(0, f'  curl -fLO {known.url}')
    return '\n'.join(lines)


def read_weights(checkpoint: str, map_location: Any = 'cpu') -> tuple[dict, dict]:
    """Read what a config names.

    Args:
        checkpoint: ``mmvpt://NAME``, ``timm://NAME``, a file or a URL.
        map_location: Device of the weights.

    Returns:
        What the file holds, and the facts that the converter noted, {} if none.

    Raises:
        CheckpointError: If it cannot be read or converted.
    """
    if checkpoint.startswith(TIMM_PREFIXES):
        converted = convert(checkpoint)
        state = {k: v.to(map_location) for k, v in converted.state.items()}
        return state, converted.metadata()
    path = resolve(checkpoint)
    content = read_checkpoint(path, map_location=map_location)
    if path.endswith('.safetensors') and '://' not in path:
        return content, read_metadata(path) or {}
    return content, metadata_of(content) or {}


def normalization(checkpoint: str) -> Normalization | None:
    """Return how images were normalised when a checkpoint was pretrained.

    Args:
        checkpoint: ``mmvpt://NAME`` (the file need not be there), ``timm://NAME``, or a
            file written by the converter.

    Returns:
        The normalisation, None if nothing tells.

    Raises:
        CheckpointError: If the name is unknown.
    """
    if checkpoint.startswith(SCHEME):
        return NORMALIZATIONS[known_checkpoint(checkpoint).normalization]
    if checkpoint.startswith(TIMM_PREFIXES):
        return _timm_normalization(checkpoint)
    if '://' in checkpoint or not Path(checkpoint).expanduser().is_file():
        return None
    noted = (read_metadata(checkpoint) or {}).get('normalization')
    return as_normalization(noted) if noted else None


def _timm_normalization(checkpoint: str) -> Normalization | None:
    try:
        from timm.models import get_pretrained_cfg
    except ImportError:
        return None
    name = checkpoint
    for prefix in TIMM_PREFIXES:
        name = name.removeprefix(prefix)
    config = get_pretrained_cfg(name)
    return config and Normalization.of_unit_range(config.mean, config.std)
