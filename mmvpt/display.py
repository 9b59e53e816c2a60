# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What commands show: tables and progress, both by rich; and what they do not."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from rich import box
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress, track
from rich.table import Table
from rich.text import Text

Item = TypeVar('Item')


def progress(
    items: Iterable[Item], description: str, total: int | None = None
) -> Iterable[Item]:
    """Yield items, and show on a terminal how far it is; elsewhere nothing.

    Args:
        items: What is worked through.
        description: What is done.
        total: Number of items, where they have no length.
    """
    console = Console(stderr=True)
    return track(
        items,
        description,
        total,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def progress_bar(total: int, description: str) -> Progress:
    """Return a bar for what does not come as items; nothing off a terminal.

    Args:
        total: How many ends there will be.
        description: What is done.
    """
    console = Console()
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    bar.add_task(description, total=total)
    return bar


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text as a Markdown table.

    Args:
        rows: The first is the head.
    """
    escaped = [[cell.replace('|', '\\|') for cell in row] for row in rows]
    text = io.StringIO()
    width = sum(max(map(len, column)) + 3 for column in zip(*escaped)) + 1
    table = Table(box=box.MARKDOWN)
    for name in escaped[0]:
        table.add_column(Text(name))  # in which rich sees no markup
    for row in escaped[1:]:
        table.add_row(*map(Text, row))
    Console(file=text, width=width).print(table)
    lines = [line for line in text.getvalue().splitlines() if line.strip()]
    return '\n'.join(lines) + '\n'


def print_markdown(text: str) -> None:
    """Print Markdown, its tables drawn on a terminal, as it is elsewhere."""
    console = Console()
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        print(text)


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


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
