# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Files that are written whole, and safetensors files that notice a changed bit.

The header of a checksummed file holds the SHA-256 of the whole file, computed with
zeros in the place of its own digits. It tells damage from intact files; it does not
tell who made a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmvpt.errors import UserError

if TYPE_CHECKING:  # a wheel alone lists its commands before torch is there
    from torch import Tensor

#: How the names of files end while they are written; a kill may leave them behind.
TEMPORARY_SUFFIX = '.mmvpt-tmp'
_PACKAGE = Path(__file__).resolve().parent
#: The folder that holds ``configs`` and ``tools``: a checkout, or what a wheel carries.
ROOT = _PACKAGE.parent if (_PACKAGE.parent / 'configs').is_dir() else _PACKAGE / '.mim'
CHECKSUM_KEY = 'mmvpt_sha256'
_ZEROS = '0' * 64
# Digits in a header; safetensors writes no blanks, and quotes inside values escaped.
_CHECKSUM = re.compile(rb'(?<!\\)"' + CHECKSUM_KEY.encode() + rb'":"([0-9a-f]{64})"')


class ChecksumError(UserError):
    """Bytes that are no checksummed file, or a damaged one."""


def checksummed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a safetensors file with its own hash in the header.

    Args:
        tensors: What it holds.
        metadata: Text that goes into the header.
    """
    from safetensors.torch import save

    tensors = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
    content = save(tensors, metadata={**metadata, CHECKSUM_KEY: _ZEROS})
    start, end = _find_checksum(content)
    digest = hashlib.sha256(content).hexdigest().encode()
    return content[:start] + digest + content[end:]


def is_checksummed(path: str | os.PathLike) -> bool:
    """Tell whether a file looks like one of ours, intact or not.

    Args:
        path: An existing file.
    """
    with open(path, 'rb') as file:
        size = int.from_bytes(file.read(8), 'little')
        if size > os.path.getsize(path):
            return False
        return f'"{CHECKSUM_KEY}"'.encode() in file.read(size)


def read_checksummed(
    path: str | os.PathLike,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a file that :func:`checksummed` made.

    Raises:
        ChecksumError: If a bit changed since it was written, the end is missing, or it
            never was such a file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = Path(path).read_bytes()
    start, end = _find_checksum(content)
    zeroed = content[:start] + _ZEROS.encode() + content[end:]
    found, stated = hashlib.sha256(zeroed).hexdigest(), content[start:end].decode()
    if found != stated:
        raise ChecksumError(
            f'its content has the SHA-256 {found[:12]}..., its header states '
            f'{stated[:12]}...: it was changed or damaged after it was written'
        )
    size = int.from_bytes(content[:8], 'little')
    try:
        header = json.loads(content[8 : 8 + size])
        return load(content), dict(header['__metadata__'])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ChecksumError(
            f'its header is not that of a safetensors file: {error}'
        ) from error


def _find_checksum(content: bytes) -> tuple[int, int]:
    """Return where the digits of the hash stand."""
    size = int.from_bytes(content[:8], 'little')
    if len(content) < 8 or size > len(content) - 8:
        raise ChecksumError('its header is longer than the file: the end is missing')
    found = list(_CHECKSUM.finditer(content, 8, 8 + size))
    if len(found) != 1:
        raise ChecksumError('its header holds no hash of its content')
    return found[0].span(1)


@contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """Make a folder that takes a name when the block has succeeded.

    Args:
        folder: Its place then; nothing may be there.

    Yields:
        The folder, beside its place for now.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f'.{folder.name}-', dir=folder.parent))
    try:
        yield aside
        aside.chmod(0o755)  # mkdtemp's folders are private
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_whole(path: str | os.PathLike, content: bytes, durable: bool = True) -> None:
    """Write a file under another name, flush it and rename it.

    Args:
        path: Where it goes; folders are created.
        content: What it holds.
        durable: Wait until the disk has it.

    Raises:
        OSError: If writing fails; what was there stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}')
    try:
        with open(temporary, 'wb') as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
