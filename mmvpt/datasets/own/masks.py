# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Images and masks for segmentation."""

from __future__ import annotations

import colorsys
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmvpt.datasets.image_files import read_header
from mmvpt.datasets.seg_maps import IGNORED, read_seg_map
from mmvpt.errors import UserError

from .found import (
    check_listable,
    files_below,
    first_few,
    folders_in,
    is_image,
    split_of,
)
from .layouts import MANY_VALUES, Part, find_split_lists, role, side_by_side

#: Of which share of the steps between neighbouring pixels values look interpolated.
MANY_RAMPS = 0.5
DRAWN = ('shown', 'stored')


class Pair(NamedTuple):
    """An image and its mask."""

    name: str  # path below the part's folders, without the ending
    part: Part
    split: str | None  # 'train', 'val' or 'test' if the data says so
    image: Path
    mask: Path


@dataclass
class FoundMasks:
    """Pairs of images and masks, by names that differ."""

    image_suffix: str  # '' if they differ: names of pairs then have theirs
    mask_suffix: str
    pairs: dict[str, Pair]
    classes: dict[str, list[int]] = field(default_factory=dict)  # what each one shows
    drawn_on: str = 'shown'  # what masks were drawn on, if EXIF turns the image
    notes: list[str] = field(default_factory=list)

    @property
    def splits(self) -> dict[str, str | None]:
        """The split that the data gives each pair."""
        return {key: pair.split for key, pair in self.pairs.items()}

    def parts(self, splits: Mapping[str, Sequence[str]]) -> dict[str, Part]:
        """Return the folders of each split."""
        return {split: self.pairs[keys[0]].part for split, keys in splits.items()}


def find_pairs(
    parts: Sequence[Part], mask_suffix: str | None = None, root: Path | None = None
) -> FoundMasks:
    """Match images with masks by their paths without endings.

    The split is that of the folders (``train``, ``val``, ``test`` above or right below
    both), or of lists of the data set.

    Args:
        parts: Folders of images and masks, only read.
        mask_suffix: What follows an image's name in that of its mask, such as
            '_mask.png'; by default found.
        root: The folder that the user gave.

    Raises:
        UserError: If there are no images, an image has no mask, a mask no image, or
            endings differ.
    """
    files: list[tuple[Part, str]] = []
    drawn: list[tuple[Part, str]] = []
    for part in parts:
        images, masks = _files(part)
        if not images:
            raise UserError(f'{part.images} holds no image.')
        if not masks:
            raise UserError(f'{part.masks} holds no mask.')
        files += [(part, name) for name in images]
        drawn += [(part, name) for name in masks]
    given = None
    if len(parts) == 1 and parts[0].split is None:
        root = _home(parts[0], root)
        given = find_split_lists(root, [name for _, name in files])
    if given is not None:
        left_out = len(files) - len(given)
        files = [item for item in files if item[1] in given]
    image_suffix, mask_suffix = _endings(files, drawn, mask_suffix, given is None)
    pairs: dict[str, Pair] = {}
    for part, file in files:
        stem = check_listable(_stem(file, image_suffix))
        name = stem if image_suffix else file
        split = given[file] if given else part.split
        mask = part.masks / f'{stem}{mask_suffix}'
        pair = Pair(name, part, split, part.images / file, mask)
        pairs[name if len(parts) == 1 else f'{part.split}/{name}'] = pair
    found = FoundMasks(image_suffix, mask_suffix, pairs)
    if given is None and parts[0].split is None:
        _split_by_folders(found, parts[0].images)
    if given is not None:
        left_out_too = f'; {left_out} images are in none of them' if left_out else ''
        found.notes.append(
            f'the split is that of the lists in {root} (ImageSets or *.txt)'
            f'{left_out_too}.'
        )
    elif root is not None:
        above = [(f, *f.parents) for part in parts for f in (part.images, part.masks)]
        found.notes += [
            f'{root / name} has no masks and is left out.'
            for name in folders_in(root)
            if role(name)[1] and not any(root / name in p for p in above)
        ]
    return found


def _home(part: Part, root: Path | None) -> Path:
    """Return the folder of a data set, where its lists lie."""
    above = part.images.parent
    if part.images == root and not (above / 'ImageSets').is_dir():
        return root
    return above


def _files(part: Part) -> tuple[list[str], list[str]]:
    """Return the images and the masks of a part."""
    files = [name for name in files_below(part.images) if is_image(name)]
    if part.images == part.masks:
        masks = side_by_side(name for name in files if '/' not in name)
        return [name for name in files if name not in masks], sorted(masks)
    if part.images in part.masks.parents:
        below = f'{part.masks.relative_to(part.images).as_posix()}/'
        files = [name for name in files if not name.startswith(below)]
    return files, [name for name in files_below(part.masks) if is_image(name)]


def _split_by_folders(found: FoundMasks, images: Path) -> None:
    """Set the splits if the folders right below those of images are splits."""
    tops = {
        key: split_of(pair.name.split('/')[0]) if '/' in pair.name else None
        for key, pair in found.pairs.items()
    }
    if 'train' not in tops.values():
        return
    stray = [name for name, split in tops.items() if split is None]
    if stray:
        raise UserError(
            f'{images} has folders for splits, but {len(stray)} images lie elsewhere:\n'
            f'{first_few(stray)}'
        )
    found.pairs = {k: p._replace(split=tops[k]) for k, p in found.pairs.items()}


def _endings(
    files: Sequence[tuple[Part, str]],
    drawn: Sequence[tuple[Part, str]],
    mask_suffix: str | None,
    whole: bool,
) -> tuple[str, str]:
    """Find how the names of images and of masks end."""
    folder = files[0][0].images
    ending = _common_suffix(folder, [name for _, name in files])
    stems = Counter((part, _stem(name, ending)) for part, name in files)
    (part, stem), count = stems.most_common(1)[0]
    if count > 1:
        raise UserError(
            f'{count} images would have one mask: {part.images / stem} with the '
            'endings of several types. Take all but one away, or rename them.'
        )
    there = set(drawn)
    tried = []
    for image_suffix in _image_suffixes(ending, [name for _, name in files]):
        names = [(part, _stem(name, image_suffix)) for part, name in files]
        counts = _mask_suffixes(names, drawn) if mask_suffix is None else {}
        hits = {
            suffix: sum((part, name + suffix) in there for part, name in names)
            for suffix in ([*counts] if mask_suffix is None else [mask_suffix])
        }
        fitting = [suffix for suffix, hit in hits.items() if hit == len(files)]
        if len(fitting) > 1:
            options = ' or '.join(f'--mask-suffix={s}' for s in sorted(fitting))
            raise UserError(
                f'{len(fitting)} masks belong to each image of {folder}: say which '
                f'are meant with {options}.'
            )
        tried += [(hit, image_suffix, suffix) for suffix, hit in hits.items()]
        if fitting:
            break
    if tried:
        _, image_suffix, suffix = max(tried)
    else:
        image_suffix = ending
        masks = drawn[0][0].masks
        suffix = mask_suffix or _common_suffix(masks, [name for _, name in drawn])
    names = [(part, _stem(name, image_suffix)) for part, name in files]
    known = {(part, name + suffix) for part, name in names}
    bare = [
        p.images / f
        for (p, f), (_, n) in zip(files, names)
        if (p, n + suffix) not in there
    ]
    lone = [
        part.masks / name
        for part, name in drawn
        if (part, name) not in known and (mask_suffix is None or name.endswith(suffix))
    ]
    if bare or (lone and whole):
        which, paths = ('images have no mask', bare) if bare else ('', lone)
        raise UserError(
            f'{len(paths)} {which or "masks have no image"}:\n{first_few(paths)}\n'
            f'A mask has the name of its image, with {suffix!r} for '
            f'{image_suffix!r}; --mask-suffix gives another ending.'
        )
    return image_suffix, suffix


def _image_suffixes(ending: str, names: Sequence[str]) -> list[str]:
    """Return how images may end: by the type, or by a word that all share before it."""
    if not ending:
        return [ending]
    stems = [name[: -len(ending)] for name in names]
    shared = os.path.commonprefix([stem[::-1] for stem in stems])[::-1]
    cuts = [i for i, letter in enumerate(shared) if letter in '_-. ']
    words = [shared[i:] for i in cuts if any(map(str.isalpha, shared[i:]))]
    return [ending, *(word + ending for word in words if '/' not in word)]


def _mask_suffixes(
    names: Sequence[tuple[Part, str]], drawn: Sequence[tuple[Part, str]]
) -> Counter[str]:
    """Count what follows the names of some images in the names of masks."""
    step = max(1, len(names) // 20)
    return Counter(
        mask[len(name) :]
        for part, name in names[::step]
        for other, mask in drawn
        if other == part and mask.startswith(name) and '/' not in mask[len(name) :]
    )


def _stem(name: str, ending: str) -> str:
    return name.removesuffix(ending) if ending else os.path.splitext(name)[0]


def _common_suffix(folder: Path, names: Sequence[str]) -> str:
    """Return the ending of all files, '' if it is written in small and capitals."""
    counts = Counter(os.path.splitext(name)[1] for name in names)
    if len(counts) > 1 and len({ending.lower() for ending in counts}) == 1:
        return ''
    if len(counts) > 1:
        endings = ', '.join(f'{ending} ({n})' for ending, n in counts.most_common())
        raise UserError(
            f'{folder} has files with different endings: {endings}. mmsegmentation '
            'reads one ending; convert or rename the others.'
        )
    return next(iter(counts))


def read_masks(
    found: FoundMasks,
    names: Sequence[str] | None = None,
    ignore_zero: bool = False,
    palette: bool = False,
    drawn_on: str | None = None,
) -> list[str]:
    """Read every mask and return the names of the classes.

    Args:
        found: The pairs; ``classes`` and ``drawn_on`` are filled in.
        names: Class names in the order of values; by default numbers.
        ignore_zero: Pixels of value 0 do not count and 1 is the first class, as in
            ADE20K.
        palette: Accept palette images, whose indices are the classes.
        drawn_on: For images with an EXIF orientation: whether masks were drawn on what
            viewers show ('shown') or on the pixels as they are stored ('stored'); by
            default what the sizes say.

    Raises:
        UserError: If a mask cannot be read, is no single channel of at most 8 bits, has
            another size than its image, or holds values that are no classes; or if
            nothing says what the masks were drawn on.
    """
    problems: list[str] = []
    pixels: Counter[int] = Counter()
    example: dict[int, Path] = {}
    fits: dict[Path, tuple[str, ...]] = {}  # turned images: how their mask fits
    steps = ramps = 0
    for key, pair in found.pairs.items():
        try:
            seg_map = read_seg_map(pair.mask, palette)
            fits[pair.image] = _fit(pair, seg_map, drawn_on)
        except UserError as error:
            problems.append(str(error))
            continue
        counts = np.bincount(seg_map.ravel(), minlength=IGNORED + 1)
        shown = [int(value) for value in np.flatnonzero(counts)]
        for value in shown:
            pixels[value] += int(counts[value])
            example.setdefault(value, pair.mask)
        found.classes[key] = [value for value in shown if value != IGNORED]
        of_steps, of_ramps = _ramps(seg_map)
        steps, ramps = steps + of_steps, ramps + of_ramps
    if problems:
        raise UserError(
            f'{len(problems)} of {len(found.pairs)} masks are no maps of class '
            f'indices:\n{first_few(problems)}'
        )
    found.drawn_on = drawn_on or _drawn_on(fits)
    shift = int(ignore_zero)
    values = sorted(value for value in pixels if shift <= value != IGNORED)
    if IGNORED in pixels and values in ([], [0]):
        raise UserError(
            f'The masks hold {sorted(pixels)}, and 255 marks pixels that do not count. '
            'In a mask of two classes write 1 for 255.'
        )
    doubt = _doubt(values, steps, ramps)
    if doubt and names is None:
        raise UserError(
            f'The masks hold {doubt}, such as {example[values[-1]]}: that looks like '
            'grey levels or interpolated masks (resized, smoothed, once saved with '
            'losses), not like indices of classes. Write 0, 1, 2, ... to the pixels '
            '(resize masks by nearest neighbours); or, if the values are meant, give '
            'a file with the names of all classes: --classes.'
        )
    if doubt:
        found.notes.append(f'the masks hold {doubt}; taken as classes by --classes.')
    classes = _names(names, values, sorted(pixels), shift, example)
    found.classes = {
        key: [v - shift for v in shown if v >= shift]
        for key, shown in found.classes.items()
    }
    empty = [name for i, name in enumerate(classes) if i + shift not in values]
    if empty:
        found.notes.append(
            f'no mask shows {", ".join(empty[:5])} ({len(empty)} classes).'
        )
    return classes


def _names(
    names: Sequence[str] | None,
    values: Sequence[int],
    held: Sequence[int],
    shift: int,
    example: dict[int, Path],
) -> list[str]:
    """Return a name for each class, or refuse values beyond those that are named."""
    count = len(names) if names else max(values, default=0) + 1 - shift
    if count < 2:
        raise UserError(
            f'The masks hold {held}: that is one class, there is nothing to tell apart.'
        )
    beyond = [value for value in values if value >= count + shift]
    if beyond:
        raise UserError(
            f'{len(names or ())} classes have the values {shift} to '
            f'{count + shift - 1}, but {example[beyond[0]]} holds {beyond[0]}. '
            'Correct --classes or the masks.'
        )
    return list(names) if names else [str(i + shift) for i in range(count)]


def _fit(pair: Pair, values: np.ndarray, drawn_on: str | None) -> tuple[str, ...]:
    """Return what a mask may have been drawn on; empty if EXIF turns nothing."""
    header = read_header(pair.image)
    if header is None:
        raise UserError(f'{pair.image} cannot be read.')
    size = values.shape[::-1]
    sizes = dict(shown=header.shown, stored=header.size)
    fitting = tuple(kind for kind in DRAWN if sizes[kind] == size)
    if not fitting or (drawn_on and drawn_on not in fitting):
        width, height = sizes[drawn_on or 'shown']
        turned = header.orientation > 1
        image = f'{pair.image} (EXIF orientation {header.orientation}) '
        raise UserError(
            f'{pair.mask} has {size[0]}x{size[1]} pixels, its image '
            f'{image if turned else ""}{width}x{height}.'
        )
    return fitting if header.orientation > 1 else ()


def _drawn_on(fits: dict[Path, tuple[str, ...]]) -> str:
    """Return what masks of turned images were drawn on, as far as sizes tell."""
    sure = {fit[0]: image for image, fit in fits.items() if len(fit) == 1}
    unsure = [image for image, fit in fits.items() if len(fit) > 1]
    if len(sure) == 1:
        return next(iter(sure))
    if not unsure and not sure:
        return 'shown'
    if sure:
        told = f'by their sizes, the mask of {sure["shown"]} was drawn on what viewers '
        told += f'show, that of {sure["stored"]} on the pixels as stored'
    else:
        told = f'{len(unsure)} images have an EXIF orientation that viewers and '
        told += f'training turn or mirror, and either size fits, such as {unsure[0]}'
    raise UserError(
        f'{told}. Say what the masks were drawn on: --masks-drawn shown, or '
        '--masks-drawn stored if a program used the pixels as they lie in the file'
        f'{"; convert the others" if sure else ""}.'
    )


def _ramps(values: np.ndarray) -> tuple[int, int]:
    """Count steps between neighbouring pixels, and those that go on as ramps.

    Interpolation puts values between those on both sides of an edge; an edge of a
    drawn mask is one step.
    """
    steps = ramps = 0
    for rows in (values, values.T):
        counted = rows != IGNORED
        rises = np.sign(np.diff(rows.astype(np.int16)))
        rises[~(counted[:, 1:] & counted[:, :-1])] = 0
        steps += int(np.count_nonzero(rises))
        ramps += 2 * int(np.count_nonzero(rises[:, 1:] * rises[:, :-1] > 0))
    return steps, ramps


def _doubt(values: Sequence[int], steps: int, ramps: int) -> str:
    """Say why the values may be no indices of classes, '' if they look like these."""
    highest = max(values, default=0)
    if highest >= 16 and len(values) <= highest // 2:
        return f'{len(values)} different values up to {highest}'
    if len(values) > MANY_VALUES:
        return f'{len(values)} different values'
    if len(values) > 2 and steps >= 8 and ramps > MANY_RAMPS * steps:
        return 'values in between at most of their edges'
    return ''


def palette_of(num_classes: int) -> list[list[int]]:
    """Return distinct colours, RGB: hues a golden angle apart, three brightnesses."""
    shades = ((i * 0.618034 % 1, 255 - 60 * (i % 3)) for i in range(num_classes))
    return [list(map(int, colorsys.hsv_to_rgb(hue, 1, v))) for hue, v in shades]
