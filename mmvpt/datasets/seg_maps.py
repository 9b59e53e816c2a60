# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Masks: the one place that reads them."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmvpt.errors import UserError

from .image_files import is_cut_off

#: What mmseg leaves out of losses and metrics, unless a head says otherwise.
IGNORED = 255
_EXPLAINED = {
    'I': 'has 32 bits; write the indices as 8 bits (at most 255 classes)',
    'F': 'has 32 bits; write the indices as 8 bits (at most 255 classes)',
    'LA': 'has an alpha channel; write one channel of indices',
    'PA': 'has an alpha channel; write one channel of indices',
}
_SIXTEEN = 'has 16 bits; write the indices as 8 bits (at most 255 classes)'
_COLOURS = 'has colours; write the index of its class to each pixel, one channel'
_LOSSY = (
    'is a JPEG file, whose values were changed by its compression and are no indices '
    'of classes. Export the masks again as PNG'
)
_PALETTE = (
    'is a palette image. If its indices are the classes, as in Pascal VOC, give '
    '--palette-masks; if its colours are, write their indices first'
)
#: How a mask becomes the image as stored, turned by each EXIF orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_seg_map(path: str | os.PathLike, palette: bool = True) -> np.ndarray:
    """Read a mask as it is shown: the stored number of each pixel, uint8 (H, W).

    Grey images of fewer than 8 bits keep their numbers, which image libraries stretch
    to 0 to 255; palette images give their indices.

    Raises:
        UserError: If it cannot be read, or is no single channel of at most 8 bits that
            was stored without losses.
    """
    try:
        with Image.open(path) as file:
            wrong = what_is_wrong(file, palette)
            if wrong:
                raise UserError(f'{path} {wrong}.')
            bits = stored_bits(file)
            if is_cut_off(path):
                raise UserError(f'{path} is cut off: its end is missing.')
            values = np.asarray(ImageOps.exif_transpose(file)).astype(np.uint8)
            if file.mode == 'L' and bits < 8:
                values //= 255 // (2**bits - 1)
            return values
    except UserError:
        raise
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise UserError(f'{path} cannot be read: {error}.') from error


def what_is_wrong(file: Image.Image, palette: bool = True) -> str:
    """Say why an opened file is no map of class indices, '' if it may be one."""
    if file.format in ('JPEG', 'MPO'):
        return _LOSSY
    if file.mode in ('1', 'L') or (file.mode == 'P' and palette):
        return ''
    if file.mode == 'P':
        return _PALETTE
    if file.mode.startswith('I;16'):
        return _SIXTEEN
    return _EXPLAINED.get(file.mode, _COLOURS)


def stored_bits(file: Image.Image) -> int:
    """Return how many bits a pixel of an opened grey image has in its file."""
    if file.format == 'PNG':
        with open(file.filename, 'rb') as stored:
            return stored.read(25)[24]  # the bit depth in the first chunk
    if file.format == 'TIFF':
        return int(file.tag_v2.get(258, (8,))[0])  # BitsPerSample
    return 8


def turned(mask: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a mask (H, W) as its image with this EXIF orientation is turned."""
    if orientation not in TURNS:
        return mask
    return np.asarray(Image.fromarray(mask).transpose(TURNS[orientation]))
