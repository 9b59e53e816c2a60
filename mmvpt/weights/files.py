# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Reading published files as data, and writing weights whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmvpt.checkpoint import CheckpointError, read_checkpoint
from mmvpt.checkpoint.reading import local_file
from mmvpt.checkpoint.shards import HUGGING_FACE, files_of, kind_of
from mmvpt.files import write_whole

from .architecture import grid_of_image
from .formats import backbones, some
from .hf_config import read_config

METADATA_KEY = 'mmvpt_weights'
SUFFIXES = ('.pth', '.safetensors')
# Where programs put the weights in a file; one dict inside another counts as well.
_DEPTH = 3


@dataclass(frozen=True)
class Source:
    """What was read."""

    state: dict[str, Tensor]  # the weights
    container: str | None  # key of the file under which they lay, if any
    #: ``sha256`` and ``md5`` of the file, or of all shards one after the other; empty
    #: if there is none.
    hashes: dict[str, str]
    name: str  # what to call it in messages
    #: What ``config.json``, timm or the converter says about the weights.
    facts: Mapping[str, Any] = field(default_factory=dict)
    #: All that the converter noted, if it wrote the file.
    notes: Mapping[str, Any] = field(default_factory=dict)


def read_source(
    path: str | os.PathLike, key: str | None = None, hashed: bool = True
) -> Source:
    """Read a published checkpoint without running code from it.

    Args:
        path: ``.npz`` without pickled objects, safetensors, a torch file, the index of
            shards, a folder of Hugging Face, or a URL.
        key: Under which the weights lie, where a file has several sets.
        hashed: Whether to compute hashes, which reads the file once more.

    Raises:
        CheckpointError: If it is missing, truncated, holds code, holds no weights or
            several.
    """
    path = local_file(path)
    if path.is_file() and path.stat().st_size and kind_of(path) == 'npz':
        content, notes = _read_npz(path), None
    else:
        content = read_checkpoint(path)
        notes = metadata_of(content) or read_header(path)
    facts = _facts(notes) if notes else {}
    if path.name.lower() in HUGGING_FACE:
        facts = {**read_config(path.parent), **facts}
    state, container = unwrap(content, key, str(path))
    weights = {name: v for name, v in state.items() if isinstance(v, Tensor)}
    if not weights:
        raise CheckpointError(
            f'{path} holds no weights; its keys are {some(map(str, state))}.'
        )
    hashes = file_hashes(path) if hashed else {}
    return Source(weights, container, hashes, str(path), facts, notes or {})


def _facts(notes: Mapping) -> dict[str, Any]:
    """Return what the converter noted, as :func:`convert` takes it."""
    found = dict(notes.get('architecture') or {})
    found['normalization'] = notes.get('normalization')
    if (found.get('activation') or '').startswith('swiglu'):
        found.pop('activation')
    sides, patch = found.pop('img_size', None), found.pop('patch_size', None)
    if sides and patch:
        found['grid'] = grid_of_image(sides, patch)
    return found


def unwrap(
    content: dict, key: str | None = None, name: str = 'the file'
) -> tuple[dict, str | None]:
    """Return the weights in what a file holds, and the key they lay under.

    Args:
        content: What it holds.
        key: Under which they lie, with dots between keys of dicts in dicts.
        name: What to call the file in messages.
    """
    found = _sets_of_weights(content)
    if key is not None:
        if key not in found:
            raise CheckpointError(
                f'{name} has no weights of a Vision Transformer under {key!r}; it has '
                f'some under {", ".join(filter(None, found)) or "no key"}.'
            )
        return found[key], key or None
    first = next(iter(found), None)
    differing = [k for k in found if k != first and not _alike(found[first], found[k])]
    if differing:
        raise CheckpointError(
            f'{name} holds {len(found)} sets of weights that differ, under '
            f'{" and ".join(filter(None, found))}: the weights of training and an '
            'average of them (EMA), or teacher and student. Choose with --key, such as '
            f'--key {differing[0]} (init_cfg: key={differing[0]!r}).'
        )
    if first is not None:
        unnamed = list(_lists_of_weights(content))
        if unnamed:
            raise CheckpointError(
                f'{name} holds weights without names under {" and ".join(unnamed)}, as '
                'averages (EMA) are kept: they cannot be told from each other. To take '
                f'those with names, --key {first or repr(first)} (init_cfg: '
                f'key={first!r}); for the averages save their state_dict.'
            )
        return found[first], first or None
    for usual in ('state_dict', 'model'):
        if isinstance(content.get(usual), Mapping):
            return dict(content[usual]), usual
    return content, None


def _sets_of_weights(content: Mapping, depth: int = _DEPTH) -> dict[str, dict]:
    """Find every dict that holds a Vision Transformer, by its key ('' for all)."""
    names = [n for n, value in content.items() if isinstance(value, Tensor)]
    found = {'': dict(content)} if backbones(map(str, names)) else {}
    for name, value in content.items() if depth else ():
        if isinstance(value, Mapping):
            for path, state in _sets_of_weights(value, depth - 1).items():
                found[f'{name}.{path}' if path else str(name)] = state
    return found


def _lists_of_weights(content: Mapping, depth: int = _DEPTH) -> Iterator[str]:
    """Yield the keys of lists that hold tensors as a model has them."""
    for name, value in content.items() if depth else ():
        if isinstance(value, Mapping):
            for path in _lists_of_weights(value, depth - 1):
                yield f'{name}.{path}'
        elif isinstance(value, (list, tuple)) and len(value) > 1:
            if all(isinstance(v, Tensor) for v in value) and any(
                v.dim() > 1 for v in value
            ):
                yield str(name)


def _alike(one: Mapping, other: Mapping) -> bool:
    if set(one) != set(other):
        return False
    return all(
        torch.equal(value.double(), other[name].double())
        for name, value in one.items()
        if isinstance(value, Tensor) and not value.is_complex()
    )


def file_hashes(path: str | os.PathLike) -> dict[str, str]:
    """Return ``sha256`` and ``md5`` of a file, or shards, in hexadecimal digits."""
    digests = dict(sha256=hashlib.sha256(), md5=hashlib.md5(usedforsecurity=False))
    path = Path(path)
    for part in files_of(path) if kind_of(path) == 'index' else [path]:
        with open(part, 'rb') as file:
            for block in iter(lambda: file.read(1 << 20), b''):
                for digest in digests.values():
                    digest.update(block)
    return {name: digest.hexdigest() for name, digest in digests.items()}


def write_weights(
    path: str | os.PathLike,
    state: Mapping[str, Tensor],
    metadata: Mapping,
    overwrite: bool = False,
) -> None:
    """Write weights and metadata, whole or not at all.

    Args:
        path: ``.pth`` (``state_dict`` and ``meta``) or ``.safetensors``.
        state: The weights.
        metadata: Facts about them that JSON can hold.
        overwrite: Whether a file that is there may be replaced.
    """
    path = Path(path).expanduser()
    check_destination(path, overwrite)
    # One tensor for each name: safetensors refuses memory that two share.
    state = {name: v.detach().contiguous().clone() for name, v in state.items()}
    notes = dict(metadata)
    if path.suffix == '.safetensors':
        from safetensors.torch import save

        content = save(state, metadata={METADATA_KEY: json.dumps(notes)})
    else:
        buffer = io.BytesIO()
        torch.save(dict(state_dict=state, meta={METADATA_KEY: notes}), buffer)
        content = buffer.getvalue()
    try:
        write_whole(path, content)
    except OSError as error:
        raise CheckpointError(f'cannot write {path}: {error}') from error


def check_destination(path: str | os.PathLike, overwrite: bool) -> None:
    """Raise ``CheckpointError`` unless weights may be written to ``path``."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise CheckpointError(
            f'{path} must end with {" or ".join(SUFFIXES)}, which says how to write it.'
        )
    if path.exists() and not overwrite:
        raise CheckpointError(f'{path} exists; give --overwrite to replace it.')


def read_metadata(path: str | os.PathLike) -> dict | None:
    """Return what the converter noted in a file, None if it did not write it."""
    path = Path(path).expanduser()
    return read_header(path) or metadata_of(read_checkpoint(path))


def read_header(path: Path) -> dict | None:
    """Return the converter's notes in the header of a safetensors file, or None."""
    if not path.is_file() or kind_of(path) != 'safetensors':
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework='pt') as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path} cannot be read: {error}') from error
    return None if text is None else json.loads(text)


def metadata_of(content: Mapping) -> dict | None:
    """Return the converter's notes in what a ``.pth`` file holds, or None."""
    meta = content.get('meta')
    found = meta.get(METADATA_KEY) if isinstance(meta, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else None


def _read_npz(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f'{path} ({path.stat().st_size} bytes) is truncated or holds more than '
            f'numbers: {error}. Fetch it again.'
        ) from error
    unreadable = [name for name, a in arrays.items() if a.dtype.kind not in 'fiu']
    if unreadable:
        raise CheckpointError(
            f'{path}: {some(unreadable)} are of type {arrays[unreadable[0]].dtype}, '
            'which torch cannot read; save the archive with 32-bit floats.'
        )
    return {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}
