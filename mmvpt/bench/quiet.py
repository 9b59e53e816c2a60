# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Imports without what libraries print on import."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def find_function(name: str) -> Callable[..., Any]:
    """Import a function, and keep what libraries print meanwhile to itself.

    Args:
        name: 'module:name'.
    """
    module, _, function = name.partition(':')
    with quiet():
        return getattr(importlib.import_module(module), function)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what the process prints; errors are raised as ever."""
    _flush()
    saved = [os.dup(stream) for stream in (1, 2)]
    try:
        with open(os.devnull, 'w') as nowhere:
            for stream in (1, 2):
                os.dup2(nowhere.fileno(), stream)
            yield
    finally:
        _flush()
        for stream, old in zip((1, 2), saved):
            os.dup2(old, stream)
            os.close(old)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
