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
            except (Exception, SystemExit):
                traceback.print_exc()
                raise
    except (Exception, SystemExit) as error:
        raise RuntimeError(f'{reason(error)}\nThe whole output is in {path}') from error
    finally:
        _flush()
        for stream, old in zip((1, 2), saved):
            os.dup2(old, stream)
            os.close(old)


def reason(error: BaseException) -> str:
    """Say why something ended, never with nothing."""
    if isinstance(error, SystemExit) and not isinstance(error.code, str):
        return f'it ended itself with status {error.code}'
    return str(error) or type(error).__name__


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
