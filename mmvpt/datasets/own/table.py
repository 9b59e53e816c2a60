# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A table with an image and its class on each line."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from mmvpt.datasets.prepare.task import RefusedError

from .found import Found, OwnImage, check_listable, first_few, split_of

#: Names of columns that are understood, lower case.
COLUMNS = dict(
    image=(
        *('image', 'path', 'file', 'filename', 'file_name', 'filepath', 'file_path'),
        *('image_path', 'img_path', 'img', 'image_name', 'image_id'),
    ),
    label=('label', 'class', 'category', 'class_name', 'label_name', 'target'),
    split=('split', 'set', 'subset', 'fold'),
)


def read_table(
    path: str | os.PathLike,
    root: str | os.PathLike | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Found:
    """Read images and classes from a CSV file.

    Its first line names the columns; commas, semicolons or tabs divide them. A column
    ``split`` (train, val, test) is respected if there is one.

    Args:
        path: The table, UTF-8.
        root: Folder that paths of images are relative to, by default the table's.
        image_column: Column with the paths; by default found by its name.
        label_column: Column with the classes; by default found by its name.

    Returns:
        Images in the order of the lines.

    Raises:
        RefusedError: If the file or a column is missing, a line has no class, an image
            is listed twice or does not exist.
    """
    path = Path(path).expanduser()
    root = path.parent if root is None else Path(root).expanduser()
    rows = _rows(path)
    header = [name.strip() for name in rows[0][1]] if rows else []
    asked = dict(image=image_column, label=label_column, split=None)
    places = {part: _column(path, header, part, asked[part]) for part in COLUMNS}
    if len(rows) < 2:
        raise RefusedError(f'{path} has a header and no line below it.')
    found = Found(root, [])
    first: dict[str, str] = {}
    missing = []
    for number, row in rows[1:]:
        where = f'{path}, line {number}'
        if len(row) != len(header):
            raise RefusedError(
                f'{where}: {len(row)} columns, but the header has {len(header)}. Put '
                'quotation marks around what contains the delimiter.'
            )
        image, label, split = (
            None if place is None else row[place].strip() for place in places.values()
        )
        if not image or not label:
            raise RefusedError(f'{where}: image or class is empty: {row}.')
        check_listable(label)
        relative = check_listable(os.path.normpath(image).replace(os.sep, '/'))
        if relative in first:
            raise RefusedError(
                f'{where}: {image!r} is listed before, in {first[relative]}. An image '
                'has one class and one line.'
            )
        first[relative] = where
        if not (root / relative).is_file():
            missing.append(f'{where}: {root / relative}')
        found.images.append(OwnImage(relative, label, _split(split, where), where))
    if missing:
        raise RefusedError(
            f'{len(missing)} of {len(found.images)} images do not exist:\n'
            f'{first_few(missing)}\n'
            f'Paths are relative to {root}; --image-root gives another folder.'
        )
    _check_splits(path, found)
    return found


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the lines that are not empty, with their numbers."""
    if not path.is_file():
        raise RefusedError(f'Table {str(path)!r} does not exist.')
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise RefusedError(f'{path} is not UTF-8 text: {error}.') from error
    if not text.strip():
        raise RefusedError(f'{path} is empty.')
    header = text.lstrip().splitlines()[0]
    delimiter = max(',;\t', key=header.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    try:
        return [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise RefusedError(f'{path}, line {reader.line_num}: {error}.') from error


def _column(path: Path, header: list[str], part: str, asked: str | None) -> int | None:
    """Return the place of a column, None for a table without splits."""
    if asked is not None:
        if asked not in header:
            raise RefusedError(
                f'{path} has no column {asked!r}; the header is {", ".join(header)}.'
            )
        return header.index(asked)
    hits = [i for i, name in enumerate(header) if name.lower() in COLUMNS[part]]
    if not hits and part == 'split':
        return None
    if len(hits) != 1:
        found = 'no column' if not hits else f'{len(hits)} columns'
        raise RefusedError(
            f'{path}: the first line must name the columns, such as image,label. It is '
            f'{",".join(header)}, with {found} for the {part} ('
            f'{", ".join(COLUMNS[part])}). Add a header, or name the columns with '
            '--image-column and --label-column.'
        )
    return hits[0]


def _split(cell: str | None, where: str) -> str | None:
    if cell is None:
        return None
    split = split_of(cell)
    if split is None:
        raise RefusedError(f'{where}: split must be train, val or test, got {cell!r}.')
    return split


def _check_splits(path: Path, found: Found) -> None:
    """Refuse a table that gives splits without training images of every class."""
    if found.images[0].split is None:
        return
    known = {image.label for image in found.images if image.split == 'train'}
    strange = [image.where for image in found.images if image.label not in known]
    if strange:
        raise RefusedError(
            f'{path}: {len(strange)} images are of classes without training images:\n'
            f'{first_few(strange)}'
        )
