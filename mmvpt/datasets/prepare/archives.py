# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Members of zip and tar files as files to read; nothing is ever unpacked to a path."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from .task import AGAIN, RefusedError

OPENERS: dict[bytes, Callable] = {
    b'\x1f\x8b': gzip.open,
    b'BZh': bz2.open,
    b'\xfd7zXZ': lzma.open,
}
BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError)
Readers = dict[str, tuple[int, Callable[[], bytes]]]


def members(path: Path, shown: str, scratch: Callable[[str], Path]) -> Readers | Path:
    """List an archive's files, each with its size and a function that reads it.

    The format is told by the content, since some published ``.tar.gz`` are plain tars.

    Args:
        path: The archive.
        shown: Its name in messages.
        scratch: Gives the path of a temporary file for a name.

    Returns:
        Member name -> (bytes, reader); or, for a single compressed file that is no
        archive, the path of its decompressed copy.

    Raises:
        RefusedError: If the archive is truncated or corrupt, has a member with a path
            that leaves the folder, or a link or device.
    """
    with path.open('rb') as file:
        head = file.read(8)
    if head.startswith(b'PK'):
        return _zip(path, shown)
    if head.startswith(b'Rar!') or head.startswith(b'7z'):
        raise RefusedError(
            f'{shown} is a rar or 7z archive, which cannot be read here. Unpack it and '
            'give the folder as --source.'
        )
    for magic, opener in OPENERS.items():
        if head.startswith(magic):
            copy = scratch(f'{shown} decompressed')
            _decompress(path, shown, opener, copy)
            return _tar(copy, shown) if _is_tar(copy) else copy
    if _is_tar(path):
        return _tar(path, shown)
    raise RefusedError(
        f'{shown} is neither a zip nor a tar file (it begins with {head!r}). An HTML '
        f'page or a broken download? {AGAIN}'
    )


def check_member(name: str, shown: str) -> None:
    """Raise RefusedError if ``name`` would leave the folder it is unpacked in."""
    path = name.replace('\\', '/')
    if path.startswith('/') or path[1:2] == ':' or '..' in PurePosixPath(path).parts:
        raise RefusedError(
            f'{shown} holds {name!r}, a path that leaves its folder. Do not trust this '
            'archive; get the published one.'
        )


def _corrupt(shown: str, error: Exception) -> RefusedError:
    return RefusedError(f'{shown} is truncated or corrupt: {error}. {AGAIN}')


def _refuse_link(name: str, shown: str, what: str) -> None:
    raise RefusedError(
        f'{shown} holds {name!r}, which is a {what}; only files and folders are '
        'read. Get the published archive.'
    )


def _zip(path: Path, shown: str) -> Readers:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _corrupt(shown, error) from error
    readers: Readers = {}
    for info in archive.infolist():
        check_member(info.filename, shown)
        if stat.S_ISLNK(info.external_attr >> 16):
            _refuse_link(info.filename, shown, 'symbolic link')
        if not info.is_dir():
            readers[info.filename] = (info.file_size, _zip_reader(archive, info, shown))
    return readers


def _zip_reader(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, shown: str
) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return archive.read(info)  # checks the CRC
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, *BROKEN) as e:
            raise RefusedError(
                f'{shown}: member {info.filename!r} is corrupt: {e}. {AGAIN}'
            ) from e

    return read


def _is_tar(path: Path) -> bool:
    with path.open('rb') as file:
        block = file.read(512)
    if len(block) < 512:
        return False
    try:
        tarfile.TarInfo.frombuf(block, 'utf-8', 'surrogateescape')
    except tarfile.HeaderError:
        return False
    return True


def _tar(path: Path, shown: str) -> Readers:
    size = path.stat().st_size
    readers: Readers = {}
    try:
        archive = tarfile.open(path, 'r:')
        infos = archive.getmembers()
    except (tarfile.TarError, *BROKEN) as error:
        raise _corrupt(shown, error) from error
    for info in infos:
        check_member(info.name, shown)
        if info.issym() or info.islnk():
            _refuse_link(info.name, shown, 'link')
        if not info.isfile() and not info.isdir():
            _refuse_link(info.name, shown, 'device or pipe')
        if info.isfile() and info.offset_data + info.size > size:
            raise RefusedError(f'{shown} is truncated within {info.name!r}. {AGAIN}')
        if info.isfile():
            name = info.name[2:] if info.name.startswith('./') else info.name
            readers[name] = (info.size, _tar_reader(path, info))
    # Two blocks of zeros end a tar file; a cut between two members leaves none.
    end = max((i.offset_data + (i.size + 511) // 512 * 512 for i in infos), default=0)
    with path.open('rb') as file:
        file.seek(end)
        ended = file.read(512)
    if len(ended) < 512 or ended.strip(b'\0'):
        raise RefusedError(
            f'{shown} is truncated: it ends without the end mark of a tar file. {AGAIN}'
        )
    return readers


def _tar_reader(path: Path, info: tarfile.TarInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        with path.open('rb') as file:
            file.seek(info.offset_data)
            return file.read(info.size)

    return read


def _decompress(path: Path, shown: str, opener: Callable, copy: Path) -> None:
    """Write the decompressed ``path`` to ``copy`` unless an earlier run did."""
    if copy.exists():
        return
    part = copy.with_name(copy.name + '.part')
    try:
        with opener(path, 'rb') as source, part.open('wb') as target:
            shutil.copyfileobj(source, target)
    except BROKEN as error:
        part.unlink(missing_ok=True)
        if getattr(error, 'errno', None):  # of the disk
            raise
        raise _corrupt(shown, error) from error
    part.replace(copy)
