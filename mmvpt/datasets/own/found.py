# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What was found of a user's data, before it is split."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mmvpt.datasets.image_files import is_leftover
from mmvpt.datasets.prepare.images import SUFFIXES
from mmvpt.errors import UserError

#: Names that folders and tables have for the three splits, lower case.
SPLIT_NAMES = dict(
    train=('train', 'training'),
    val=('val', 'valid', 'validation', 'dev'),
    test=('test', 'testing'),
)


class OwnImage(NamedTuple):
    """An image and its class, or with several labels its classes."""

    path: str  # relative to the folder of images, parts divided by '/'
    label: str | tuple[str, ...]  # name of the class; of the classes, none included
    split: str | None  # 'train', 'val' or 'test' if the data says so
    where: str  # where this is said, for messages

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its classes, one or several."""
        return (self.label,) if isinstance(self.label, str) else self.label


@dataclass
class Found:
    """The images of a classification task."""

    root: Path  # folder that paths are relative to
    images: list[OwnImage]
    notes: list[str] = field(default_factory=list)  # what was left out, and why

    def by_label(self) -> dict[str, list[OwnImage]]:
        """Return the images of each class, classes in the order of their labels."""
        groups: dict[str, list[OwnImage]] = {}
        for image in self.images:
            for label in image.labels:
                groups.setdefault(label, []).append(image)
        return {name: groups[name] for name in in_order(groups)}


def in_order(names: Iterable[str]) -> list[str]:
    """Sort class names; numbers by value, so that 10 comes after 9."""
    names = list(names)
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def split_of(name: str) -> str | None:
    """Return the split that a folder or a cell names, None if it names none."""
    for split, spellings in SPLIT_NAMES.items():
        if name.strip().lower() in spellings:
            return split
    return None


def is_image(name: str) -> bool:
    """Tell an image by the ending of its name."""
    return name.lower().endswith(SUFFIXES)


def folders_in(root: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, without leftovers."""
    return sorted(
        item.name
        for item in root.iterdir()
        if item.is_dir() and not is_leftover(item.name)
    )


def files_below(folder: Path) -> Iterator[str]:
    """Yield files below a folder, relative to it, sorted; links are followed once."""
    seen = {os.path.realpath(above) for above in Path(os.path.abspath(folder)).parents}
    found = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        if place in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(place)
        folders[:] = [name for name in folders if not is_leftover(name)]
        below = Path(parent).relative_to(folder)
        found += [(below / name).as_posix() for name in files if not is_leftover(name)]
    yield from sorted(found)


def check_listable(text: str, where: str = '') -> str:
    """Return a path or a name of a class if a line of a list file can hold it.

    Args:
        text: The path or name.
        where: The place that says it, such as a file and its line.
    """
    begin = f'{where}: ' if where else ''
    if text != text.strip() or len(text.splitlines()) != 1:
        raise UserError(
            f'{begin}{text!r} begins or ends with a blank or has a line break, which a '
            'list file cannot hold. Rename it.'
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f'{begin}{text!r} is not UTF-8. Rename it.') from None
    return text


def first_few(items: Iterable[object], count: int = 3) -> str:
    """Return the first items on indented lines, and how many more there are."""
    items = list(items)
    lines = [f'  {item}' for item in items[:count]]
    if len(items) > count:
        lines.append(f'  ... and {len(items) - count} more')
    return '\n'.join(lines)
