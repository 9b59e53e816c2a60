# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Encode arrays as PNG, tell images that cannot be decoded."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from .task import RefusedError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.gif', '.webp', '.tif', '.tiff')


def png(image: np.ndarray) -> bytes:
    """Encode an image, (H, W) grey or (H, W, 3) RGB uint8, as a PNG file.

    Grey images become three equal channels, as VTAB-1k does.
    """
    image = np.ascontiguousarray(image, dtype=np.uint8)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    return encode(image[..., ::-1], '.png')


def encode(image: np.ndarray, suffix: str, quality: int | None = None) -> bytes:
    """Encode a BGR image, (H, W, 3), as OpenCV does; ``quality`` is that of JPEG."""
    options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, content = cv2.imencode(suffix, image, options)
    if not done:
        raise RefusedError(f'An image of shape {image.shape} cannot be encoded.')
    return content.tobytes()


def decode(content: bytes, where: str) -> np.ndarray:
    """Decode a file's content to BGR, (H, W, 3) uint8."""
    size(content, where)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:  # formats that only Pillow knows, such as GIF
        with Image.open(io.BytesIO(content)) as picture:
            image = np.asarray(picture.convert('RGB'))[..., ::-1]
    return image


def size(content: bytes, where: str) -> tuple[int, int]:
    """Decode an image fully and return its (width, height)."""
    return load(content, where).size


def load(content: bytes, where: str) -> Image.Image:
    """Decode an image with Pillow, which is strict about truncated files."""
    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise RefusedError(
            f'{where} cannot be decoded ({len(content)} bytes; {error}). Get the file '
            'again.'
        ) from error
    return picture
