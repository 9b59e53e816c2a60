# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Text files as editors and spreadsheets write them: the one place that reads them."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from mmvpt.errors import MissingFileError, UserError

# The mark of UTF-32 begins with that of UTF-16, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, 'utf-8'),
    (codecs.BOM_UTF32_LE, 'utf-32-le'),
    (codecs.BOM_UTF32_BE, 'utf-32-be'),
    (codecs.BOM_UTF16_LE, 'utf-16-le'),
    (codecs.BOM_UTF16_BE, 'utf-16-be'),
)


def read_text(path: str | os.PathLike) -> str:
    """Read a text file: UTF-8, or the UTF that its byte order mark says.

    Line breaks stay as they are, so that a table may have them inside of cells.

    Raises:
        MissingFileError: If there is no such file.
        UserError: If it is in another encoding.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingFileError(f'File {str(path)!r} does not exist.')
    content = path.read_bytes()
    mark, encoding = next(
        (item for item in _MARKS if content.startswith(item[0])), (b'', 'utf-8')
    )
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        marked = f', nor {encoding} as its byte order mark says' if mark else ''
        raise UserError(
            f'{path} is not UTF-8 text{marked} (byte {error.start}), but perhaps in '
            'the encoding of an older editor or spreadsheet, such as Windows-1252. '
            'Save it as UTF-8.'
        ) from error
    if '\0' in text:
        raise UserError(
            f'{path} holds zero bytes: it is UTF-16 without a byte order mark, or no '
            'text. Save it as UTF-8.'
        )
    return text


def read_lines(path: str | os.PathLike) -> list[str]:
    """Read the lines of a text file that are not blank, stripped."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        raise UserError(f'{path} is empty: one name on each line is expected.')
    return lines
