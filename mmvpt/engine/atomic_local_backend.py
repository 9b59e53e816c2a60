# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""mmengine's way to write files, whole or not at all."""

from __future__ import annotations

import os

from mmengine.fileio import LocalBackend, register_backend

from mmvpt.files import write_whole


class AtomicLocalBackend(LocalBackend):
    """mmengine's local file backend with writes that cannot be cut in half.

    Whoever looks, also after a kill, sees the old file or the new one.
    """

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write ``obj`` to ``filepath``, see :func:`mmvpt.files.write_whole`."""
        write_whole(filepath, obj)

    def put_text(
        self, obj: str, filepath: str | os.PathLike, encoding: str = 'utf-8'
    ) -> None:
        """Write text as :meth:`put` writes bytes."""
        self.put(obj.encode(encoding), filepath)


register_backend('mmvpt_atomic', AtomicLocalBackend, force=True)
