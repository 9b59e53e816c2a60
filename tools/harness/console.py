# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Output of a run goes to a file of its own."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def console(work_dir: Path) -> Iterator[None]:
    """Send what the process prints to ``console.log`` in ``work_dir``.

    Raises:
        RuntimeError: Instead of what was raised inside, with the path of the output.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    path = work_dir / 'console.log'
    _flush()
    saved = [os.dup(stream) for stream in (1, 2)]
    try:
        with open(path, 'w') as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
            try:
                yield
            except Exception:
                traceback.print_exc()
                raise
    except Exception as error:
        raise RuntimeError(f'{error}\nThe whole output is in {path}') from error
    finally:
        _flush()
        for stream, old in zip((1, 2), saved):
            os.dup2(old, stream)
            os.close(old)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
