# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The list files of a task, put together aside and renamed when complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmvpt.datasets.text import read_lines
from mmvpt.errors import UserError
from mmvpt.files import folder_aside

NAMES = frozenset(f'{name}.txt' for name in ('classes', 'train', 'val', 'test'))


class Lists:
    """Lines of ``classes.txt`` and of one list for each split.

    Args:
        classes: Names of the classes in the order of labels.
        splits: The lines of each split.
    """

    def __init__(
        self, classes: Sequence[str], splits: Mapping[str, Sequence[str]]
    ) -> None:
        self.texts = {
            f'{name}.txt': ''.join(f'{line}\n' for line in lines)
            for name, lines in dict(splits, classes=classes).items()
        }


def check_target(folder: Path, images: Sequence[Path], overwrite: bool) -> None:
    """Raise UserError if the lists may not be written to ``folder``.

    Args:
        folder: Where they go.
        images: The user's folders, in which nothing is written.
        overwrite: Whether earlier lists are replaced.
    """
    inside = folder.resolve()
    if any(place.resolve() in (inside, *inside.parents) for place in images):
        raise UserError(
            f'The lists would be written to {folder}, inside of the images. Give '
            'another folder with --lists.'
        )
    if not folder.exists():
        return
    others = sorted({item.name for item in folder.iterdir()} - NAMES)
    if others:
        raise UserError(
            f'{folder} holds more than lists ({", ".join(others[:3])}) and is not '
            'touched. Give another folder with --lists, or another --name.'
        )
    if not overwrite:
        raise UserError(
            f'{folder} exists. Replace it with --overwrite, or give another --name.'
        )


@contextmanager
def write_aside(folder: Path, lists: Lists) -> Iterator[Path]:
    """Write lists beside ``folder``; put them in place when the block has succeeded.

    Yields:
        The folder that holds the lists for now.
    """
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        with folder_aside(folder) as aside:
            for name, text in lists.texts.items():
                (aside / name).write_text(text, encoding='utf-8')
            yield aside
            if folder.exists():
                shutil.rmtree(folder)
    finally:
        for parent in missing[1:]:  # made above, and still empty after a failure
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def read_names(path: str | os.PathLike) -> list[str]:
    """Read class names, one on each line."""
    names = read_lines(path)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f'{path} holds {twice[0]!r} more than once.')
    return names
