# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Reading published files as data, and writing weights whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmvpt.checkpoint import CheckpointError, read_checkpoint

from .formats import some

METADATA_KEY = 'mmvpt_weights'
SUFFIXES = ('.pth', '.safetensors')
# Where training programs put the weights in a file.
_CONTAINERS = ('state_dict', 'model')


@dataclass(frozen=True)
class Source:
    """What was read.

    Attributes:
        state: The weights.
        container: Key of the file under which they lay, if any.
        hashes: ``sha256`` and ``md5`` of the file, empty if there is none.
        name: What to call it in messages.
    """

    state: dict[str, Tensor]
    container: str | None
    hashes: dict[str, str]
    name: str


def read_source(path: str | os.PathLike) -> Source:
    """Read a published checkpoint without running code from it.

    Args:
        path: ``.npz`` without pickled objects, ``.safetensors``, or a torch file.

    Raises:
        CheckpointError: If it is missing, truncated, holds code, or holds no weights.
    """
    path = Path(path).expanduser()
    if path.suffix == '.npz' and path.is_file():
        state, container = _read_npz(path), None
    else:
        _refuse_torchscript(path)
        state, container = unwrap(read_checkpoint(path))
    weights = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if not weights:
        raise CheckpointError(
            f'{path} holds no weights; its keys are {some(map(str, state))}.'
        )
    return Source(weights, container, file_hashes(path), str(path))


def unwrap(content: dict) -> tuple[dict, str | None]:
    """Return the weights in what a file holds, and the key they lay under."""
    for key in _CONTAINERS:
        if isinstance(content.get(key), Mapping):
            return dict(content[key]), key
    return content, None


def file_hashes(path: str | os.PathLike) -> dict[str, str]:
    """Return ``sha256`` and ``md5`` of a file in hexadecimal digits."""
    digests = dict(sha256=hashlib.sha256(), md5=hashlib.md5(usedforsecurity=False))
    with open(path, 'rb') as file:
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
    """Write weights and metadata, read them back and compare, then put them in place.

    Args:
        path: ``.pth`` (``state_dict`` and ``meta``) or ``.safetensors``.
        state: The weights.
        metadata: Facts about them that JSON can hold.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        CheckpointError: If the ending is another, the file exists, or it cannot be
            written; nothing is left behind.
    """
    path = Path(path).expanduser()
    check_destination(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.stem}.{os.getpid()}.mmvpt-tmp{path.suffix}')
    try:
        _save(temporary, state, metadata)
        with open(temporary, 'rb+') as file:
            os.fsync(file.fileno())
        back, _ = unwrap(read_checkpoint(temporary))
        if set(back) != set(state) or not all(
            torch.equal(back[name], value) for name, value in state.items()
        ):
            raise CheckpointError(f'{path}: what was written reads back differently.')
        os.replace(temporary, path)
    except OSError as error:
        raise CheckpointError(f'cannot write {path}: {error}') from error
    finally:
        temporary.unlink(missing_ok=True)


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
    """Return what the converter noted in a file, None if it did not write it.

    Args:
        path: A ``.pth`` or ``.safetensors`` file.
    """
    path = Path(path).expanduser()
    if path.suffix == '.safetensors':
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework='pt') as file:
                text = (file.metadata() or {}).get(METADATA_KEY)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f'{path} cannot be read: {error}') from error
        return None if text is None else json.loads(text)
    return metadata_of(read_checkpoint(path))


def metadata_of(content: Mapping) -> dict | None:
    """Return the converter's notes in what a ``.pth`` file holds, or None."""
    meta = content.get('meta')
    found = meta.get(METADATA_KEY) if isinstance(meta, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else None


def _save(path: Path, state: Mapping[str, Tensor], metadata: Mapping) -> None:
    state = {name: value.detach().contiguous() for name, value in state.items()}
    if path.suffix == '.safetensors':
        from safetensors.torch import save_file

        # One tensor for each name: safetensors refuses memory that two share.
        state = {name: value.clone() for name, value in state.items()}
        save_file(state, path, metadata={METADATA_KEY: json.dumps(dict(metadata))})
    else:
        state = {name: value.clone() for name, value in state.items()}
        torch.save(dict(state_dict=state, meta={METADATA_KEY: dict(metadata)}), path)


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


def _refuse_torchscript(path: Path) -> None:
    """Explain OpenAI's CLIP files, which are programs and not only weights."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith('/constants.pkl') for name in names):
        raise CheckpointError(
            f'{path} is a TorchScript program, as OpenAI publishes CLIP. If you trust '
            'it, save its weights first: python -c "import torch; '
            f"torch.save(torch.jit.load('{path}', 'cpu').state_dict(), "
            f"'{path.stem}-weights.pth')\""
        )
