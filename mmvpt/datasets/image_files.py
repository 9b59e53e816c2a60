# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What an image file is, from its first and last bytes: the one place that looks."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

#: Images with more pixels than this are named, not read: decoding one would take a
#: gigabyte, and small files can claim any size. Pillow draws the same line.
MAX_PIXELS = 178_956_970
#: So are images with sides more unlike than this: a pipeline that resizes the short
#: side would make them large.
MAX_RATIO = 500
#: What file managers, network drives, archivers and editors leave behind, lower case;
#: whatever begins with a dot is passed over too.
LEFTOVERS = frozenset(
    (
        *('@eadir', '@tmp', '@recycle', '@recently-snapshot', '#recycle', '#snapshot'),
        *('$recycle.bin', 'system volume information', 'recycler', 'found.000'),
        *('__macosx', 'network trash folder', 'temporary items', 'icon\r'),
        *('thumbs.db', 'ehthumbs.db', 'ehthumbs_vista.db', 'desktop.ini'),
        *('lost+found', '__pycache__', '~snapshot', '_macosx', 'macosx'),
        *('@__thumb', '@sharebin', '_thumbs', '_thumbnails', 'thumbnails'),
    )
)
#: Tag of EXIF that says how a picture is to be turned when it is shown.
_ORIENTATION = 0x0112

_JPEG, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_PNG, _PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND'


def is_leftover(name: str) -> bool:
    """Tell what was left behind by a system from what a user put there."""
    return name.startswith('.') or name.lower() in LEFTOVERS


class Header(NamedTuple):
    """What the header of an image says."""

    size: tuple[int, int]  # width and height as stored
    orientation: int  # EXIF's: 1 as stored, 2 to 8 mirrored or turned to be shown

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height as the image is shown, and as OpenMMLab's loaders read."""
        return self.size[::-1] if self.orientation > 4 else self.size


def read_header(path: str | os.PathLike) -> Header | None:
    """Read the header of an image without decoding it, None if Pillow knows it not."""
    try:
        with warnings.catch_warnings(), Image.open(path) as file:
            warnings.simplefilter('ignore')
            # Pillow turns TIFF files by itself.
            turned = 1 if file.format == 'TIFF' else file.getexif().get(_ORIENTATION)
            return Header(file.size, turned if turned in range(1, 9) else 1)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError):
        return None
    except Image.DecompressionBombError:
        return None


def extreme_shape(width: int, height: int) -> str:
    """Say why an image of this size is not read, '' if it is."""
    if width * height > MAX_PIXELS:
        return (
            f'claims {width} x {height} pixels and was not read; at most '
            f'{MAX_PIXELS:,} are. Make it smaller first.'
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        return (
            f'has {width} x {height} pixels; sides that differ by more than a factor '
            f'of {MAX_RATIO} are not read. Cut it into pieces.'
        )
    return ''


def as_png(image: Image.Image) -> bytes:
    """Return the content of an image's PNG file."""
    content = io.BytesIO()
    image.save(content, 'PNG')
    return content.getvalue()


def distinct_names(paths: Iterable[str]) -> dict[str, str]:
    """Return names for results of images, so that none takes the place of another.

    Returns:
        The file name of each one; if two were the same without their endings, on some
        file system, then paths below the folder that all lie in.
    """
    paths = list(dict.fromkeys(map(str, paths)))
    names = {path: os.path.basename(path) for path in paths}
    if _differ(names.values()):
        return names
    absolute = {path: os.path.abspath(path) for path in paths}
    root = os.path.commonpath([os.path.dirname(path) for path in absolute.values()])
    names = {path: os.path.relpath(absolute[path], root) for path in paths}
    if _differ(names.values()):
        return names
    # a.jpg and a.png: what is the ending becomes part of the name
    return {path: f'{name}.' for path, name in names.items()}


def _differ(names: Iterable[str]) -> bool:
    stems = [os.path.splitext(name)[0].casefold() for name in names]
    return len(set(stems)) == len(stems)


def is_cut_off(path: str | os.PathLike) -> bool:
    """Whether a JPEG, PNG or WebP file lacks its end; False for every other file.

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
        head = file.read(12)
        if head.startswith(b'RIFF') and head.endswith(b'WEBP'):
            size = int.from_bytes(head[4:8], 'little')
            return os.fstat(file.fileno()).st_size < size + 8
        file.seek(-min(12, os.fstat(file.fileno()).st_size), os.SEEK_END)
        tail = file.read()
        if head.startswith(_PNG):
            whole = _PNG_END in tail
        else:
            whole = not head.startswith(_JPEG) or tail.endswith(_JPEG_END)
        if whole:
            return False
        file.seek(0)
        content = file.read()
    if head.startswith(_PNG):
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
