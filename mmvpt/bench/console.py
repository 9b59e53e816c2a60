# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What goes to the terminal, and what to the file of a run or nowhere."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmvpt.errors import UserError


def say(text: str) -> None:
    """Print a step."""
    print(f'==> {text}', flush=True)


def detail(text: str) -> None:
    """Print something that happened within a step."""
    print(f'    {text}', flush=True)


@contextmanager
def redirected(path: str | os.PathLike) -> Iterator[None]:
    """Send what the process prints, compiled code included, to a file."""
    _flush()
    saved = [os.dup(stream) for stream in (1, 2)]
    try:
        with open(path, 'w') as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
            yield
    finally:
        _flush()
        for stream, old in zip((1, 2), saved):
            os.dup2(old, stream)
            os.close(old)


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


def quiet() -> Any:
    """Drop what the process prints; errors are raised as ever."""
    return redirected(os.devnull)


def find_function(name: str) -> Callable[..., Any]:
    """Import a function, and keep what libraries print meanwhile to itself.

    Args:
        name: 'module:name'.
    """
    module, _, function = name.partition(':')
    with quiet():
        return getattr(importlib.import_module(module), function)


def reason(error: BaseException) -> str:
    """Say why something ended, never with nothing."""
    if isinstance(error, SystemExit) and not isinstance(error.code, str):
        return f'it ended itself with status {error.code}'
    return str(error) or type(error).__name__


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
