# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""From what a config writes to weights: ``mmvpt://NAME``, ``timm://NAME``, a file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from mmvpt.checkpoint import CheckpointError

from .architecture import ConversionError
from .assembly import in_full_precision
from .convert import convert
from .files import SUFFIXES, read_metadata, read_source
from .formats import backbones, unwrapped
from .hub import HUB_PREFIX
from .known import SCHEME, KnownCheckpoint, known_checkpoint
from .normalization import NORMALIZATIONS, Normalization, as_normalization
from .timm_source import TIMM_PREFIXES, plain_name

FOLDER_ENV = 'MMVPT_CHECKPOINTS'
# The weights of the backbone itself, which are numbers with a fraction.
_FROZEN = re.compile(
    r'layers|patch_embed|pos_embed|cls_token|reg_tokens|pre_norm|ln1|pool'
)


def checkpoint_folder() -> Path:
    """Return where known checkpoints lie: ``$MMVPT_CHECKPOINTS`` or ``checkpoints``."""
    return Path(os.environ.get(FOLDER_ENV) or 'checkpoints').expanduser()


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


def read_weights(
    checkpoint: str,
    map_location: Any = 'cpu',
    prefix: str | None = None,
    key: str | None = None,
    grid: tuple[int, int] | None = None,
) -> tuple[dict[str, Tensor], dict]:
    """Read what a config names, in the backbone's names.

    A published file in other names is converted as ``tools/weights/convert.py`` does,
    if nothing is left to choose.

    Args:
        checkpoint: ``mmvpt://NAME``, ``timm://NAME``, ``hf://ORG/NAME``, a file, a
            folder of Hugging Face or a URL.
        map_location: Device of the weights.
        prefix: What stands before the names of the backbone.
        key: Under which the weights lie, where a file has several sets.
        grid: Rows and columns of patches of the positions, if they are no square.

    Returns:
        The weights, and the facts that the converter noted, {} if none.

    Raises:
        CheckpointError: If it cannot be read or converted.
    """
    if checkpoint.startswith((*TIMM_PREFIXES, HUB_PREFIX)):
        converted = convert(checkpoint, grid=grid)
        return _moved(converted.state, map_location), converted.metadata()
    source = read_source(resolve(checkpoint), key, hashed=False)
    found = backbones(source.state)
    if {name for name, _ in found} <= {'mmpretrain'}:
        state = _inside(unwrapped(source.state), [p for _, p in found], prefix)
        frozen = {n: v for n, v in state.items() if _FROZEN.match(n)}
        state.update(in_full_precision(frozen))
        return _moved(state, map_location), dict(source.notes)
    try:
        converted = convert(source, prefix=prefix, grid=grid)
    except ConversionError as error:
        raise ConversionError(
            f'{error} Convert it first: python tools/weights/convert.py {checkpoint} '
            'DEST, with the options that this names.'
        ) from None
    return _moved(converted.state, map_location), converted.metadata()


def _inside(
    state: dict[str, Tensor], prefixes: list[str], given: str | None
) -> dict[str, Tensor]:
    """Take off what stands before the backbone's names, ``backbone.`` if unsure."""
    if given is not None:
        prefix = f'{given.rstrip(".")}.' if given else ''
    elif len(prefixes) == 1:
        prefix = prefixes[0]
    elif not prefixes or 'backbone.' in prefixes:
        prefix = 'backbone.' if any(n.startswith('backbone.') for n in state) else ''
    else:
        raise ConversionError(
            f'the file holds {len(prefixes)} sets of weights. Choose one with prefix '
            f'in init_cfg: {", ".join(map(repr, prefixes))}.'
        )
    inside = {n: v for n, v in state.items() if n.startswith(prefix)}
    return {name[len(prefix) :]: value for name, value in inside.items()}


def _moved(state: dict[str, Tensor], device: Any) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in state.items()}


def normalization(checkpoint: str) -> Normalization | None:
    """Return how images were normalised in pretraining, None if nothing tells.

    Args:
        checkpoint: ``mmvpt://NAME`` (the file need not be there), ``timm://NAME``, or a
            file written by the converter.

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
    config = get_pretrained_cfg(plain_name(checkpoint))
    return config and Normalization.of_unit_range(config.mean, config.std)
