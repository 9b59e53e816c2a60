# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Images and masks for segmentation."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmvpt.datasets.prepare.task import RefusedError

from .found import check_listable, files_below, first_few, is_hidden, is_image, split_of

IMAGE_FOLDERS = ('images', 'image', 'imgs', 'img', 'img_dir', 'JPEGImages')
MASK_FOLDERS = (
    *('annotations', 'masks', 'mask', 'labels', 'segmentations', 'ann_dir'),
    *('SegmentationClass',),
)
IGNORED = 255
_EXPLAINED = {
    'P': (
        'is a palette image. If its indices are the classes, as in Pascal VOC, give '
        '--palette-masks; if its colours are, write their indices first'
    ),
    'I;16': 'has 16 bits; write the indices as 8 bits (at most 255 classes)',
    'I': 'has 32 bits; write the indices as 8 bits (at most 255 classes)',
    'LA': 'has an alpha channel; write one channel of indices',
}
_COLOURS = 'has colours; write the index of its class to each pixel, one channel'


@dataclass
class FoundMasks:
    """Pairs of images and masks."""

    images: Path  # folder that names are relative to
    masks: Path
    image_suffix: str
    mask_suffix: str
    splits: dict[str, str | None]  # name without suffix -> split, if the data says so
    classes: dict[str, list[int]] = field(default_factory=dict)  # what each name shows
    notes: list[str] = field(default_factory=list)


def find_folders(
    root: str | os.PathLike, masks: str | os.PathLike | None = None
) -> tuple[Path, Path] | None:
    """Return the folders of images and of masks, None if there are no such two.

    Args:
        root: A folder with two folders in it whose names tell; or that of the images,
            if masks are elsewhere.
        masks: That of the masks, if it is elsewhere.

    Raises:
        RefusedError: If a folder is missing, or there are masks but no images.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise RefusedError(f'Folder {str(root)!r} does not exist.')
    if masks is not None:
        masks = Path(masks).expanduser()
        if not masks.is_dir():
            raise RefusedError(f'Folder {str(masks)!r} of the masks does not exist.')
        return root, masks
    names = {p.name for p in root.iterdir() if p.is_dir() and not is_hidden(p.name)}
    images = [name for name in IMAGE_FOLDERS if name in names]
    found = [name for name in MASK_FOLDERS if name in names]
    if found and not images and names <= {*MASK_FOLDERS}:
        raise RefusedError(
            f'{root} has masks ({found[0]}), but no folder of images; expected '
            f'{", ".join(IMAGE_FOLDERS)} beside it, or give the folder of the images, '
            'and the other with --masks.'
        )
    if len(images) == 1 and len(found) == 1:
        return root / images[0], root / found[0]
    return None


def find_pairs(images: Path, masks: Path, mask_suffix: str | None = None) -> FoundMasks:
    """Match images with masks by their paths without suffixes.

    Folders ``train`` (``training``), ``val``, ``test`` right below both say that the
    data is split already.

    Args:
        images: Folder of the images, only read.
        masks: Folder of the masks, only read.
        mask_suffix: What follows an image's name in that of its mask, such as
            '_mask.png'; by default the ending that all masks have.

    Raises:
        RefusedError: If there are no images, an image has no mask, a mask no image, or
            endings differ.
    """
    files = [name for name in files_below(images) if is_image(name)]
    drawn = [name for name in files_below(masks) if is_image(name)]
    if not files:
        raise RefusedError(f'{images} holds no image.')
    if not drawn:
        raise RefusedError(f'{masks} holds no mask.')
    image_suffix = _common_suffix(images, files)
    mask_suffix = mask_suffix or _common_suffix(masks, drawn)
    names = [check_listable(name[: -len(image_suffix)]) for name in files]
    there, known = set(drawn), {name + mask_suffix for name in names}
    bare = [images / f for f, n in zip(files, names) if n + mask_suffix not in there]
    lone = [masks / name for name in drawn if name not in known]
    if bare or lone:
        which, paths = ('images have no mask', bare) if bare else ('', lone)
        raise RefusedError(
            f'{len(paths)} {which or "masks have no image"}:\n{first_few(paths)}\n'
            f'A mask has the name of its image, with {mask_suffix!r} for '
            f'{image_suffix!r}; --mask-suffix gives another ending.'
        )
    tops = {
        name: split_of(name.split('/')[0]) if '/' in name else None for name in names
    }
    if 'train' not in tops.values():
        tops = dict.fromkeys(names)
    elif None in tops.values():
        stray = [name for name, split in tops.items() if split is None]
        raise RefusedError(
            f'{images} has folders for splits, but {len(stray)} images lie elsewhere:\n'
            f'{first_few(stray)}'
        )
    return FoundMasks(images, masks, image_suffix, mask_suffix, tops)


def _common_suffix(folder: Path, names: Sequence[str]) -> str:
    counts = Counter(os.path.splitext(name)[1] for name in names)
    if len(counts) > 1:
        endings = ', '.join(f'{ending} ({n})' for ending, n in counts.most_common())
        raise RefusedError(
            f'{folder} has files with different endings: {endings}. mmsegmentation '
            'reads one ending; convert or rename the others.'
        )
    return next(iter(counts))


def read_masks(
    found: FoundMasks,
    names: Sequence[str] | None = None,
    ignore_zero: bool = False,
    palette: bool = False,
) -> list[str]:
    """Read every mask and return the names of the classes.

    Args:
        found: The pairs; ``classes`` is filled in.
        names: Class names in the order of values; by default numbers.
        ignore_zero: Pixels of value 0 do not count and 1 is the first class, as in
            ADE20K.
        palette: Accept palette images, whose indices are the classes.

    Raises:
        RefusedError: If a mask cannot be read, is no single channel of 8 bits, has
            another size than its image, or holds values that are no classes.
    """
    problems = []
    pixels: Counter[int] = Counter()
    example: dict[int, str] = {}
    for name in found.splits:
        path = found.masks / f'{name}{found.mask_suffix}'
        try:
            counts = _values(
                path, found.images / f'{name}{found.image_suffix}', palette
            )
        except RefusedError as error:
            problems.append(str(error))
            continue
        for value, count in counts.items():
            pixels[value] += count
            example.setdefault(value, str(path))
        found.classes[name] = [v for v in counts if v != IGNORED]
    if problems:
        raise RefusedError(
            f'{len(problems)} of {len(found.splits)} masks are no maps of class '
            f'indices:\n{first_few(problems)}'
        )
    shift = int(ignore_zero)
    values = sorted(value for value in pixels if shift <= value != IGNORED)
    if IGNORED in pixels and values in ([], [0]):
        raise RefusedError(
            f'The masks hold {sorted(pixels)}, and 255 marks pixels that do not count. '
            'In a mask of two classes write 1 for 255.'
        )
    count = len(names) if names else max(values, default=0) + 1 - shift
    if count < 2:
        raise RefusedError(
            f'The masks hold {sorted(pixels)}: that is one class, there is nothing to '
            'tell apart.'
        )
    beyond = [value for value in values if value >= count + shift]
    if beyond:
        raise RefusedError(
            f'{len(names or ())} classes have the values {shift} to '
            f'{count + shift - 1}, but {example[beyond[0]]} holds {beyond[0]}. '
            'Correct --classes or the masks.'
        )
    found.classes = {
        name: [v - shift for v in shown if v >= shift]
        for name, shown in found.classes.items()
    }
    classes = list(names) if names else [str(i + shift) for i in range(count)]
    empty = [classes[i] for i in range(count) if i + shift not in values]
    if empty:
        found.notes.append(
            f'no mask shows {", ".join(empty[:5])} ({len(empty)} classes).'
        )
    return classes


def _values(path: Path, image: Path, palette: bool) -> Mapping[int, int]:
    """Return how many pixels hold which value."""
    try:
        with Image.open(path) as file:
            mode = file.mode
            if mode not in ('1', 'L') and not (mode == 'P' and palette):
                raise RefusedError(f'{path} {_EXPLAINED.get(mode, _COLOURS)}.')
            values = np.asarray(file).astype(np.uint8)
        with Image.open(image) as file:
            size = file.size
    except (OSError, SyntaxError, UnidentifiedImageError) as error:
        raise RefusedError(f'{path} or its image cannot be read: {error}.') from error
    if values.shape[::-1] != size:
        raise RefusedError(
            f'{path} has {values.shape[1]}x{values.shape[0]} pixels, its image '
            f'{size[0]}x{size[1]}.'
        )
    counts = np.bincount(values.ravel(), minlength=IGNORED + 1)
    return {int(v): int(counts[v]) for v in np.flatnonzero(counts)}


def palette_of(num_classes: int) -> list[list[int]]:
    """Return distinct colours, RGB: hues a golden angle apart, three brightnesses."""
    colours = []
    for i in range(num_classes):
        hue, value = i * 0.618034 % 1 * 6, 255 - 60 * (i % 3)
        rise = int(value * (1 - abs(hue % 2 - 1)))
        channels = [(value, rise, 0), (rise, value, 0), (0, value, rise)]
        channels += [(0, rise, value), (rise, 0, value), (value, 0, rise)]
        colours.append(list(channels[int(hue)]))
    return colours
