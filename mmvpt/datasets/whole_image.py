# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Whether an image file ends where it should."""

from __future__ import annotations

import os

_JPEG, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_PNG, _PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND'


def is_cut_off(path: str | os.PathLike) -> bool:
    """Whether a JPEG or PNG file lacks its end; False for every other file.

    OpenCV 4 and Pillow's lenient mode fill what is missing with grey and at most warn;
    OpenCV 5 refuses such files by itself. A JPEG is whole if an end marker follows the
    start of its first scan: the one of an embedded thumbnail does not count, and bytes
    behind the end are common and left alone. The last bytes decide nearly always, so
    this costs microseconds.

    Args:
        path: A local file; False if there is none.
    """
    if not os.path.isfile(path):
        return False
    with open(path, 'rb') as file:
        head = file.read(8)
        file.seek(-min(12, os.fstat(file.fileno()).st_size), os.SEEK_END)
        tail = file.read()
        if head == _PNG:
            whole = _PNG_END in tail
        else:
            whole = not head.startswith(_JPEG) or tail.endswith(_JPEG_END)
        if whole:
            return False
        file.seek(0)
        content = file.read()
    if head == _PNG:
        return _PNG_END not in content
    return content.find(_JPEG_END, _first_scan(content)) < 0


def _first_scan(content: bytes) -> int:
    """Return where the first scan of a JPEG starts, or the end if there is none."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xDA:
            return place
        if marker == 0xFF:  # a fill byte
            place += 1
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4], 'big')
    return len(content)
