# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What commands show: tables, and progress of what takes long. Both by rich."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TypeVar

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
