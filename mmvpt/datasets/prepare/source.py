# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A read-only view of what the user has: a folder, an archive, archives in a folder."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from mmvpt.files import write_whole

from .archives import members
from .task import Item, RefusedError

IGNORED = ('.DS_Store', 'Thumbs.db', 'desktop.ini')


class Source:
    """Files of a folder or an archive by name; nothing is written there.

    Archives in the folder whose name matches ``patterns`` are read as if they were
    unpacked where they lie, and so are such archives within archives. If a file is both
    unpacked and in an archive, the unpacked one is taken.

    Args:
        path: A folder, or one archive (zip, tar, tar.gz, tar.bz2, tar.xz).
        patterns: Names of archives to look into, with wildcards.
        scratch: Folder for decompressed copies.
        splits: File or folder with published splits, given beside the source.

    Raises:
        RefusedError: If ``path`` does not exist, or it or an archive in it holds
            symbolic links or paths that leave the folder, or an archive is broken.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        patterns: Sequence[str] = (),
        scratch: str | os.PathLike = '.',
        splits: str | os.PathLike | None = None,
    ) -> None:
        self.path = Path(path).expanduser()
        self.patterns = [pattern.lower() for pattern in patterns]
        self.splits = None if splits is None else Path(splits).expanduser()
        self._readers: dict[str, tuple[int, Callable[[], bytes]]] = {}
        self._plain: dict[str, Path] = {}  # files that lie on the disk
        self._other_archives: list[str] = []
        if self.splits is not None and not self.splits.exists():
            raise RefusedError(f'--splits {str(self.splits)!r} does not exist.')
        if self.path.is_dir():
            self._add_folder(self.path.resolve())
        elif not self.path.is_file():
            raise RefusedError(f'Source {str(self.path)!r} does not exist.')
        self.fingerprint = self._fingerprint()
        # A copy of its own for each state of the source, so that none is stale.
        self.scratch = Path(scratch) / self.fingerprint[:16]
        if self.path.is_file():
            self._mount(self.path, self.path.name, '')
        self._mount_archives()
        self.names: list[str] = sorted({*self._readers, *self._plain})

    def __contains__(self, name: str) -> bool:
        return name in self._plain or name in self._readers

    def _fingerprint(self) -> str:
        """Return a digest of names, sizes and times, to tell sources apart."""
        digest = hashlib.sha256(str(self.path.resolve()).encode())
        files = [self.path] if self.path.is_file() else list(self._plain.values())
        if self.splits is not None:
            files += [self.splits, *self.splits.glob('*')]
        for path in sorted(files):
            info = path.stat()
            digest.update(f'{path}{info.st_size} {info.st_mtime_ns}'.encode())
        return digest.hexdigest()

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            RefusedError: If it does not exist or its archive is corrupt.
        """
        if name in self._plain:
            return self._plain[name].read_bytes()
        if name not in self._readers:
            raise self.refuse(f'{name!r} is missing')
        size, reader = self._readers[name]
        content = reader()
        if len(content) != size:
            raise RefusedError(
                f'{name!r} has {len(content)} bytes, {size} are announced: the archive '
                'is truncated. Download it again.'
            )
        return content

    def reader(self, name: str) -> Callable[[], bytes]:
        """Return a function that reads ``name``, which must exist."""
        if name not in self:
            raise self.refuse(f'{name!r} is missing')
        return lambda: self.read(name)

    def item(self, path: str, label: int, below: str = '') -> Item:
        """Return an image that keeps its name; ``below`` is what stands before it."""
        return Item(path, path, int(label), self.reader(below + path))

    def text(self, name: str) -> str:
        """Return a file's text."""
        try:
            return self.read(name).decode('utf-8-sig')
        except UnicodeDecodeError as error:
            raise RefusedError(f'{name!r} is not UTF-8 text: {error}.') from error

    def file(self, name: str) -> Path:
        """Return a path on the disk with the content of ``name``."""
        if name not in self._plain:
            target = self._scratch_path(name)
            if not target.exists():
                write_whole(target, self.reader(name)(), durable=False)
            return target
        return self._plain[name]

    def matching(self, pattern: str) -> list[str]:
        """Return the names that match ``pattern``, below any folder, sorted."""
        return [
            name
            for name in self.names
            if fnmatch.fnmatchcase(name, pattern)
            or fnmatch.fnmatchcase(name, f'*/{pattern}')
        ]

    def has(self, pattern: str) -> bool:
        """Tell whether a name matches ``pattern``."""
        return bool(self.matching(pattern))

    def locate(self, pattern: str) -> str:
        """Return the one name that matches ``pattern``.

        Raises:
            RefusedError: If there is none, or more than one.
        """
        found = self.matching(pattern)
        if not found:
            raise self.refuse(f'{pattern!r} is missing')
        if len(found) > 1:
            raise RefusedError(
                f'{pattern!r} is there {len(found)} times: {", ".join(found[:3])}. '
                'Point --source to the folder of one data set.'
            )
        return found[0]

    def root(self, pattern: str, several: bool = False) -> str:
        """Return what comes before ``pattern`` in the one name that matches it.

        Returns:
            A prefix: '' or a path that ends with '/'.
        """
        found = self.matching(pattern) if several else []
        name = found[0] if found else self.locate(pattern)
        depth = len(PurePosixPath(pattern).parts)
        parts = PurePosixPath(name).parts[:-depth]
        return ''.join(f'{part}/' for part in parts)

    def below(self, prefix: str) -> Iterator[str]:
        """Yield the names that begin with ``prefix``."""
        return (name for name in self.names if name.startswith(prefix))

    def refuse(self, what: str) -> RefusedError:
        """Return an error that says what is missing, and what is there."""
        some = ', '.join(self.names[:4]) or 'nothing'
        more = f' and {len(self.names) - 4} more' if len(self.names) > 4 else ''
        archives = ''
        if self._other_archives:
            archives = (
                f' Archives there that do not bear a known name are not looked into: '
                f'{", ".join(self._other_archives[:4])}.'
            )
        return RefusedError(
            f'{what} in {str(self.path)!r}. Found there: {some}{more}.{archives}'
        )

    def _scratch_path(self, name: str) -> Path:
        self.scratch.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        return self.scratch / f'{digest}-{PurePosixPath(name).name}'

    def _add_folder(self, root: Path) -> None:
        for folder, subfolders, files in os.walk(root):
            subfolders[:] = sorted(d for d in subfolders if not d.startswith('.'))
            for entry in [*subfolders, *files]:
                path = Path(folder, entry)
                if path.is_symlink():
                    raise RefusedError(
                        f'{path} is a symbolic link, and links are not followed. Give '
                        'a source folder that holds the files themselves.'
                    )
            for entry in files:
                path = Path(folder, entry)
                name = path.relative_to(root).as_posix()
                if not _ignored(name):
                    self._plain[name] = path

    def _mount_archives(self) -> None:
        mounted: set[str] = set()
        while True:
            names = sorted({*self._plain, *self._readers} - mounted)
            bases = [PurePosixPath(name).name.lower() for name in names]
            new = [
                name
                for name, base in zip(names, bases)
                if any(fnmatch.fnmatchcase(base, p) for p in self.patterns)
            ]
            if not new:
                break
            for name in new:
                mounted.add(name)
                parent = name[: len(name) - len(PurePosixPath(name).name)]
                self._mount(self.file(name), name, parent)
        for name in mounted:
            self._plain.pop(name, None)
            self._readers.pop(name, None)
        suffixes = ('.zip', '.tar', '.tgz', '.gz', '.bz2', '.xz', '.rar', '.7z')
        self._other_archives = [n for n in names if n.lower().endswith(suffixes)]

    def _mount(self, path: Path, shown: str, parent: str) -> None:
        found = members(path, shown, self._scratch_path)
        if isinstance(found, Path):
            self._plain.setdefault(shown.rsplit('.', 1)[0], found)
            return
        for name, reader in found.items():
            if not _ignored(name):
                self._readers.setdefault(parent + name, reader)


def _ignored(name: str) -> bool:
    base = PurePosixPath(name).name
    return base in IGNORED or base.startswith('._') or name.startswith('__MACOSX/')
