# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Images from files, folders, arrays and PIL, or the reason why not."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmvpt.datasets.image_files import extreme_shape, is_leftover
from mmvpt.errors import MissingFileError, UserError

ImageLike = Union[str, os.PathLike, np.ndarray, Image.Image]
ORDERS = ('rgb', 'bgr')
#: Files that OpenCV, with which the pipelines load, and Pillow read alike, but for
#: rounding. Some versions of OpenCV read no GIF, or change colours of JPEG 2000.
LOADED = ('BMP', 'JPEG', 'MPO', 'PNG', 'PPM', 'TIFF', 'WEBP')
#: But not these modes of TIFF: OpenCV multiplies colours by alpha, and has its own Lab.
NOT_LOADED = ('LAB', 'RGBA', 'RGBX', 'RGBa')


class ImageError(UserError):
    """An image that cannot be read; the message names it and says why."""


@dataclass(frozen=True)
class Source:
    """One image that was asked for."""

    name: str  # path as given, path relative to a given folder, or ``image 0``
    image: ImageLike  # path of a file, array or PIL image

    @property
    def path(self) -> Path:
        """Of an image that is a file."""
        return Path(str(self.image))


def find_images(images: ImageLike | Iterable[ImageLike | Source]) -> list[Source]:
    """List what was asked for.

    Args:
        images: A file, a folder (every file below it but hidden ones and what
            systems leave behind, sorted), an
            array, a PIL image, or several of these.

    Raises:
        MissingFileError: If a path does not exist.
        UserError: For anything else.
    """
    if isinstance(images, (str, os.PathLike, np.ndarray, Image.Image)):
        images = [images]
    elif not isinstance(images, Iterable):
        raise UserError(
            'expected a path, an array, a PIL image or a list of them, got '
            f'{type(images).__name__}.'
        )
    found: list[Source] = []
    for number, image in enumerate(images):
        if isinstance(image, Source):
            found.append(image)
        elif isinstance(image, (np.ndarray, Image.Image)):
            found.append(Source(f'image {number}', image))
        elif isinstance(image, (str, os.PathLike)):
            found += _find_files(Path(image).expanduser())
        else:
            raise UserError(
                f'image {number} is a {type(image).__name__}; expected a path, an '
                'array (height, width, 3) or a PIL image.'
            )
    return found


def _find_files(path: Path) -> Iterator[Source]:
    if path.is_dir():
        for file in sorted(path.rglob('*')):
            below = file.relative_to(path)
            if file.is_file() and not any(map(is_leftover, below.parts)):
                yield Source(str(below), file)
    elif path.exists():
        yield Source(str(path), path)
    else:
        raise MissingFileError(
            f'{path} does not exist (working directory: {Path.cwd()}).'
        )


def check_file(path: Path) -> np.ndarray | None:
    """Make sure that a file is one whole image before a loader guesses.

    OpenCV, which the pipelines load with, returns nothing for some broken files and
    half an image for others. Kinds of files that it reads otherwise than Pillow are
    read here, so that a file and its PIL image are the same image.

    Returns:
        None if a loader shall read it, else what :func:`as_bgr` returns for its image.

    Raises:
        ImageError: If it is no image, damaged, too large, or has 32-bit values, whose
            range is unknown.
    """
    if path.stat().st_size == 0:
        raise ImageError(f'{path} is empty (0 bytes).')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # damage is an error, or harmless
        try:
            with Image.open(path) as image:
                _check_size(str(path), *image.size)
                image.load()
                mode, kind = image.mode, image.format
                loads = kind in LOADED and (kind != 'TIFF' or mode not in NOT_LOADED)
                pixels = None if loads else as_bgr(Source(str(path), image))
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            raise ImageError(f'{path} was not read: {error}') from error
        except UnidentifiedImageError as error:
            raise ImageError(f'{path} is not an image that can be read.') from error
        except Exception as error:  # bytes that mean nothing fail in any way
            raise ImageError(f'{path} is damaged: {error}.') from error
    if mode == 'F' or (mode == 'I' and path.suffix.lower() != '.png'):
        raise ImageError(_deep(str(path)))
    return pixels


def _check_size(name: str, width: int, height: int) -> None:
    wrong = extreme_shape(width, height)
    if wrong:
        raise ImageError(f'{name} {wrong}')


def _deep(name: str) -> str:
    return (
        f'{name} has 32-bit values, whose range is unknown; save it with 8 or 16 bits '
        'per channel.'
    )


def as_bgr(source: Source, order: str = 'rgb') -> np.ndarray:
    """Return an array or PIL image as OpenMMLab's loader would return its file.

    That is uint8 (height, width, 3) in the order blue, green, red. Grey and palette
    images become colour images, an alpha channel is dropped, 16 bits are scaled to 8 by
    their upper byte, CMYK is converted, and a PIL image is turned as its EXIF says.

    Args:
        source: With an array (height, width), (height, width, 1, 3 or 4), uint8 or
            uint16, or a PIL image.
        order: Channel order of arrays, ``rgb`` or ``bgr``.
    """
    image, name = source.image, source.name
    if isinstance(image, Image.Image):
        _check_size(name, *image.size)
        try:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith('I;16'):
                image = np.asarray(image)
            elif image.mode in ('F', 'I'):
                raise ImageError(_deep(name))
            else:
                image = np.asarray(image.convert('RGB'))
        except ImageError:
            raise
        except Exception as error:  # a lazy image is decoded here
            raise ImageError(f'{name} is damaged: {error}.') from error
        order = 'rgb'
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise ImageError(
            f'{name} has shape {np.shape(image)}; expected (height, width, 3), or 1 or '
            '4 channels.'
        )
    _check_size(name, array.shape[1], array.shape[0])
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(
            f'{name} has values of type {array.dtype}; expected uint8 from 0 to 255, '
            'or uint16.'
        )
    if array.shape[2] == 1:
        array = array.repeat(3, axis=2)
    array = array[..., :3]
    return np.ascontiguousarray(array[..., ::-1] if order == 'rgb' else array)
