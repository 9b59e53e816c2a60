# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A table with an image and its class, or its classes, on each line."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmvpt.datasets.text import read_text
from mmvpt.errors import UserError

from .found import Found, OwnImage, check_listable, first_few, split_of

#: Names of columns that are understood, lower case.
COLUMNS = dict(
    image=(
        *('image', 'path', 'file', 'filename', 'file_name', 'filepath', 'file_path'),
        *('image_path', 'img_path', 'img', 'image_name', 'image_id'),
    ),
    label=(
        *('label', 'class', 'category', 'class_name', 'label_name', 'target'),
        *('labels', 'classes', 'categories', 'tags', 'targets'),
    ),
    split=('split', 'set', 'subset', 'fold'),
)
DELIMITERS = ',;\t|'
#: What may divide several labels in a cell; others are parts of their names.
LABEL_DELIMITERS = ';|,'


class Table(NamedTuple):
    """The lines of a table."""

    path: Path
    header: list[str]
    rows: list[tuple[str, list[str]]]  # the place of a line, for messages; its cells


def read_table(
    path: str | os.PathLike,
    root: str | os.PathLike | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    multi_label: bool = False,
) -> Found:
    """Read images and classes from a CSV file.

    Its first line names the columns; commas, semicolons, tabs or bars divide them. A
    column ``split`` (train, val, test) is respected if there is one.

    Args:
        path: The table, UTF-8 or with a byte order mark.
        root: Folder that paths of images are relative to, by default the table's.
        image_column: Column with the paths; by default found by its name.
        label_column: Column with the classes; by default found by its name.
        multi_label: An image has any number of classes: several in a cell, divided by
            one of ``LABEL_DELIMITERS``; on several lines; or, without a column of
            labels, one column for each class with 1 (yes) or 0 (no).

    Returns:
        Images in the order of the lines.

    Raises:
        UserError: If the file or a column is missing, a line has no class, an image
            is listed twice or does not exist.
    """
    path = Path(path).expanduser()
    root = path.parent if root is None else Path(root).expanduser()
    table = _read(path)
    image_at = _column(table, 'image', image_column)
    split_at = _column(table, 'split', None)
    label_at = _column(table, 'label', label_column, optional=multi_label)
    if not table.rows:
        raise UserError(f'{path} has a header and no line below it.')
    if multi_label:
        labels = _several(table, label_at, (image_at, split_at))
    else:
        labels = [(row[label_at].strip(),) for _, row in table.rows]
    found = Found(root, [])
    listed: dict[str, OwnImage] = {}
    missing = []
    for (where, row), names in zip(table.rows, labels):
        image = row[image_at].strip()
        if not image or '' in names:
            raise UserError(f'{where}: image or class is empty: {row}.')
        for name in names:
            check_listable(name, where)
        relative = check_listable(os.path.normpath(image).replace(os.sep, '/'), where)
        split = None if split_at is None else split_of(row[split_at])
        if split_at is not None and split is None:
            raise UserError(
                f'{where}: split must be train, val or test, got {row[split_at]!r}.'
            )
        label = tuple(dict.fromkeys(names)) if multi_label else names[0]
        before = listed.get(relative)
        if before and multi_label and before.split == split:
            label = tuple(dict.fromkeys((*before.label, *label)))
        elif before:
            raise UserError(
                f'{where}: {image!r} is listed before, in {before.where}. An image '
                'has one class and one line; if images may have several classes, give '
                '--multi-label. Its split is one too.'
            )
        elif not (root / relative).is_file():
            missing.append(f'{where}: {root / relative}')
        listed[relative] = OwnImage(relative, label, split, where)
    if missing:
        raise UserError(
            f'{len(missing)} of {len(listed)} images do not exist:\n'
            f'{first_few(missing)}\n'
            f'Paths are relative to {root}; --image-root gives another folder.'
        )
    found.images = list(listed.values())
    _check_splits(path, found)
    return found


def _read(path: Path) -> Table:
    """Return the lines that are not empty, with their places."""
    text = read_text(path)
    if not text.strip():
        raise UserError(f'{path} is empty.')
    first = re.sub(r'"[^"]*"', '', text.lstrip().splitlines()[0])
    reader = csv.reader(
        io.StringIO(text, newline=''), delimiter=max(DELIMITERS, key=first.count)
    )
    rows, last = [], 0
    try:
        for row in reader:
            if any(map(str.strip, row)):
                rows.append((f'{path}, line {last + 1}', row))
            last = reader.line_num
    except csv.Error as error:
        raise UserError(f'{path}, line {reader.line_num}: {error}.') from error
    header = [name.strip() for name in rows[0][1]]
    for where, row in rows[1:]:
        if len(row) != len(header):
            raise UserError(
                f'{where}: {len(row)} columns, but the header has {len(header)}. Put '
                'quotation marks around what contains the delimiter.'
            )
    return Table(path, header, rows[1:])


def _column(
    table: Table, part: str, asked: str | None, optional: bool = False
) -> int | None:
    """Return the place of a column, None for one that need not be there."""
    path, header = table.path, table.header
    if asked is not None:
        if header.count(asked) != 1:
            found = 'two columns' if asked in header else 'no column'
            raise UserError(
                f'{path} has {found} {asked!r}; the header is {", ".join(header)}.'
            )
        return header.index(asked)
    hits = [i for i, name in enumerate(header) if name.lower() in COLUMNS[part]]
    if not hits and (optional or part == 'split'):
        return None
    if len(hits) != 1:
        found = 'no column' if not hits else f'{len(hits)} columns'
        raise UserError(
            f'{path}: the first line must name the columns, such as image,label. It is '
            f'{",".join(header)}, with {found} for the {part} ('
            f'{", ".join(COLUMNS[part])}). Add a header, or name the columns with '
            '--image-column and --label-column.'
        )
    return hits[0]


def _several(
    table: Table, label_at: int | None, others: Sequence[int | None]
) -> list[tuple[str, ...]]:
    """Return the labels of each line, none included."""
    if label_at is not None:
        cells = [row[label_at].strip() for _, row in table.rows]
        used = [mark for mark in LABEL_DELIMITERS if any(mark in c for c in cells)]
        if len(used) > 1:
            marks = ' and by '.join(map(repr, used))
            raise UserError(
                f'{table.path}: labels are divided by {marks}; it is unclear which '
                'of them belongs to a name. Use one of them.'
            )
        mark = used[0] if used else LABEL_DELIMITERS[0]
        parts = [[part.strip() for part in cell.split(mark)] for cell in cells]
        return [tuple(part for part in line if part) for line in parts]
    columns = [i for i in range(len(table.header)) if i not in others]
    names = ', '.join(COLUMNS['label'])
    yes, no = ('1', '1.0', 'true', 'yes'), ('0', '0.0', 'false', 'no', '')
    for where, row in table.rows:
        for i in columns:
            if row[i].strip().lower() not in (*yes, *no):
                raise UserError(
                    f'{where}: without a column of labels ({names})'
                    f' the others are classes with 1 or 0, but {table.header[i]!r} '
                    f'has {row[i]!r}. Name the column of labels with --label-column.'
                )
    return [
        tuple(table.header[i] for i in columns if row[i].strip().lower() in yes)
        for _, row in table.rows
    ]


def _check_splits(path: Path, found: Found) -> None:
    """Refuse a table that gives splits without training images of every class."""
    if found.images[0].split is None:
        return
    train = [image.labels for image in found.images if image.split == 'train']
    known = {label for labels in train for label in labels}
    strange = [image.where for image in found.images if set(image.labels) - known]
    if strange:
        raise UserError(
            f'{path}: {len(strange)} images are of classes without training images:\n'
            f'{first_few(strange)}'
        )
