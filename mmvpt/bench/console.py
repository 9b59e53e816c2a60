# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What goes to the terminal, and what to the file of a run or nowhere."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmvpt.display import redirected
from mmvpt.errors import UserError


def say(text: str) -> None:
    """Print a step."""
    print(f'==> {text}', flush=True)


def detail(text: str) -> None:
    """Print something that happened within a step."""
    print(f'    {text}', flush=True)


@contextmanager
def console(work_dir: Path) -> Iterator[None]:
    """Send what the process prints to ``console.log`` in ``work_dir``.

    Raises:
        UserError: Instead of what was raised inside, with the path of the output.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    path = work_dir / 'console.log'
    try:
        with redirected(path):
            try:
                yield
            except (Exception, SystemExit):
                traceback.print_exc()
                raise
    except (Exception, SystemExit) as error:
        raise UserError(f'{reason(error)}\nThe whole output is in {path}') from error


def reason(error: BaseException) -> str:
    """Say why something ended, never with nothing."""
    if isinstance(error, SystemExit) and not isinstance(error.code, str):
        return f'it ended itself with status {error.code}'
    return str(error) or type(error).__name__
