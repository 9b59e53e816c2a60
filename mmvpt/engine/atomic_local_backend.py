# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Files that are either the old one or the new one, never half of either."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

# Endings of files that a killed run may leave behind.
TEMPORARY_SUFFIX = '.mmvpt-tmp'


def temporary_path(path: str | os.PathLike) -> Path:
    """Name the file beside ``path`` that is written before it takes its place."""
    path = Path(path)
    return path.with_name(f'.{path.name}{TEMPORARY_SUFFIX}')


class AtomicLocalBackend(LocalBackend):
    """mmengine's local file backend with writes that cannot be cut in half.

    A file is written under another name in the same folder, flushed to the disk and
    then renamed. Whoever looks, also after a kill or a power cut, sees the old file
    or the new one. An error while writing removes the partial file.
    """

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write ``obj`` to ``filepath``.

        Raises:
            OSError: If writing fails, for instance because the disk is full. The file
                that was there stays.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(path)
        try:
            with open(temporary, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._flush_folder(path.parent)

    def put_text(
        self, obj: str, filepath: str | os.PathLike, encoding: str = 'utf-8'
    ) -> None:
        """Write text as :meth:`put` writes bytes.

        Raises:
            OSError: If writing fails.
        """
        self.put(obj.encode(encoding), filepath)

    @staticmethod
    def _flush_folder(folder: Path) -> None:
        if os.name != 'posix':
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError:
            pass  # some network file systems cannot flush a folder
        finally:
            os.close(handle)


register_backend('mmvpt_atomic', AtomicLocalBackend, force=True)
