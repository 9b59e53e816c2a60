# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Where images and masks lie, and split lists that a data set brings along."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mmvpt.datasets.image_files import is_leftover
from mmvpt.datasets.text import read_lines
from mmvpt.errors import UserError

from .found import SPLIT_NAMES, files_below, first_few, folders_in, is_image, split_of

#: Of how many folders two are compared; and below how many colours one is a mask.
MOST_FOLDERS, MANY_VALUES = 10, 64

#: What folders of images and of masks are called, lower case, letters and digits only.
#: The first ones of each kind are never a class; the others may be one.
WORDS = dict(
    image=('images', 'image', 'imgs', 'img', 'imgdir', 'jpegimages', 'leftimg8bit')
    + ('imagedir', 'photos', 'photo', 'pictures', 'original', 'originals', 'rgb')
    + ('inputs', 'input', 'frames', 'raw', 'source'),
    mask=('masks', 'annotations', 'labels', 'segmentations', 'anndir', 'maskimages')
    + ('segmentationclass', 'segmentationmaps', 'labelmaps', 'labelids', 'gtfine')
    + ('groundtruth', 'annots', 'annot', 'maskdir', 'segmaps', 'mask', 'annotation')
    + ('ann', 'label', 'seg', 'segmentation', 'gt', 'labelmap', 'target', 'targets'),
)
_NEVER_CLASSES = {*WORDS['image'][:8], *WORDS['mask'][:15]}
_SPELLINGS = sorted(
    ((word, split) for split, words in SPLIT_NAMES.items() for word in words),
    key=lambda item: -len(item[0]),
)
LAYOUTS = (
    'Layouts with masks that are read, in capitals too: folders such as images and '
    'masks (or JPEGImages and SegmentationClass, img_dir and ann_dir, ...); the same '
    'below or above of train, val and test; train_images beside train_masks; a.jpg '
    'beside a_mask.png. For other names give the folder of the images, and that of '
    'the masks with --masks.'
)
#: How the name of a mask ends that lies beside its image.
_MARKED = re.compile(
    r'(?i)(?P<name>.+)[ _.-](masks?|seg|segmentation|labels?|labelids|gt|annotation)'
    r'([ _-]?\d+)?'
)


class Part(NamedTuple):
    """A folder of images and that of their masks, which may be the same."""

    split: str | None  # 'train', 'val' or 'test' if the folders say so
    images: Path
    masks: Path


def role(name: str) -> tuple[str | None, str | None]:
    """Return what a folder's name says: 'image', 'mask' or None; a split or None."""
    word = _plain(name)
    for spelling, split in [('', None), *_SPELLINGS]:
        if spelling and not (word.startswith(spelling) or word.endswith(spelling)):
            continue
        rests = {word.removeprefix(spelling), word.removesuffix(spelling)}
        for kind, words in WORDS.items():
            if rests & set(words):
                return kind, split
        if spelling and '' in rests:
            return None, split
    return None, None


def find_parts(
    root: str | os.PathLike, masks: str | os.PathLike | None = None
) -> list[Part] | None:
    """Return the folders of images and of masks, None if there are no such two.

    Args:
        root: A folder with folders in it whose names tell; or that of the images, if
            masks are elsewhere.
        masks: That of the masks, if it is elsewhere.

    Raises:
        UserError: If a folder is missing, there are masks but no images, or several
            folders may be meant.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise UserError(f'Folder {str(root)!r} does not exist.')
    if masks is not None:
        masks = Path(masks).expanduser()
        if not masks.is_dir():
            raise UserError(f'Folder {str(masks)!r} of the masks does not exist.')
        return [Part(None, root, masks)]
    parts = _parts(root)
    if parts is None:
        nested = {
            split: _parts(root / name)
            for name in folders_in(root)
            if (split := role(name)[1])
        }
        if any(nested.values()):
            parts = [
                part._replace(split=split)
                for split, found in nested.items()
                for part in found or ()
            ]
    inside = folders_in(root)
    if parts is None and len(inside) == 1 and not _images_in(root):
        return find_parts(root / inside[0])  # what an archive was unpacked to
    return parts


def _parts(root: Path) -> list[Part] | None:
    """Return the parts whose folders lie right in ``root``."""
    found: dict[tuple[str | None, str | None], list[Path]] = {}
    for name in folders_in(root):
        found.setdefault(role(name), []).append(root / name)
    for key, several in found.items():
        if len(several) > 1:  # VOC's Annotations hold no images
            found[key] = [f for f in several if any(map(is_image, files_below(f)))]
    parts = []
    for split in (None, *SPLIT_NAMES):
        images = found.get(('image', split)) or (split and found.get((None, split)))
        masks = found.get(('mask', split))
        if not masks:
            continue
        if not images and split is None and _images_in(root):
            images = [root]
        if not images:
            if {key[0] for key in found} == {'mask'}:
                raise UserError(
                    f'{root} has masks ({masks[0].name}), but no folder of images.\n'
                    f'{LAYOUTS}'
                )
            return None
        for kind, several in (('images', images), ('masks', masks)):
            if len(several) > 1:
                names = ', '.join(path.name for path in several)
                raise UserError(
                    f'{root} has several folders that may hold the {kind}: {names}. '
                    'Give the folder of the images, and that of the masks with '
                    '--masks.'
                )
        parts.append(Part(split, images[0], masks[0]))
    if not parts and side_by_side(_images_in(root)):
        parts = [Part(None, root, root)]
    return parts or None


def _images_in(root: Path) -> list[str]:
    return sorted(
        item.name
        for item in root.iterdir()
        if is_image(item.name) and not is_leftover(item.name)
    )


def side_by_side(names: Iterable[str]) -> set[str]:
    """Return the files that are masks of others among them, by their names."""
    stems = {os.path.splitext(name)[0]: name for name in names}
    return {
        file
        for stem, file in stems.items()
        if (match := _MARKED.fullmatch(stem)) and match['name'] in stems
    }


def refuse_masks(root: Path, classes: Sequence[str], below: str = '') -> None:
    """Refuse class folders that are images and masks in a layout that is not read."""
    kinds = {name: _speaks_of(name) for name in classes}
    named = [n for n in classes if kinds[n] and _stem(n) in _NEVER_CLASSES]
    if {'image', 'mask'} <= set(kinds.values()):
        named = [name for name in classes if kinds[name]]
    if named:
        raise UserError(
            f'{root / below} has folders whose names speak of images and masks '
            f'({", ".join(named)}), not of classes, in a layout that is not read.\n'
            f'{LAYOUTS} If class folders lie in one of them, give that folder.'
        )
    pair = _drawn_on(root / below, classes)
    if pair:
        raise UserError(
            f'{root / below / pair[1]} seems to hold masks of the images in {pair[0]}: '
            'the same names and sizes, and few colours. They would be trained on as a '
            f'class. If they are one, give its files other names.\n{LAYOUTS}'
        )
    for name in classes:
        folder = root / below / name
        files = [path for path in files_below(folder) if is_image(path)]
        masks = side_by_side(files)
        if len(masks) <= len(files) // 3:
            masks = {
                file
                for file in files
                if any(role(name)[0] == 'mask' for name in file.split('/')[:-1])
            }
        if masks:
            raise UserError(
                f'{folder} holds what seems to be masks of its images:\n'
                f'{first_few(sorted(masks))}\n'
                'They would be trained on as images of a class. Move them elsewhere, '
                f'or bring images and masks into a layout that is read. {LAYOUTS}'
            )


def _speaks_of(name: str) -> str | None:
    """Return what some word in a folder's name says: 'image', 'mask' or None."""
    words = {word.lower() for word in re.findall('[A-Z]?[a-z]+|[A-Z]+', name)}
    found = [kind for kind in ('mask', 'image') if words & set(WORDS[kind])]
    return role(name)[0] or next(iter(found), None)


def _drawn_on(root: Path, names: Sequence[str]) -> tuple[str, str] | None:
    """Return two folders, of images and of their masks, by what is in them."""
    if len(names) > MOST_FOLDERS:
        return None
    stems = {
        name: {
            os.path.splitext(f)[0]: f for f in files_below(root / name) if is_image(f)
        }
        for name in names
    }
    for one, other in permutations(names, 2):
        shared = sorted(stems[one].keys() & stems[other].keys())
        if len(shared) < 2 or len(shared) < len(stems[other]):
            continue
        step = max(1, len(shared) // 5)
        if all(
            _is_mask_of(
                root / other / stems[other][stem], root / one / stems[one][stem]
            )
            for stem in shared[::step]
        ):
            return one, other
    return None


def _is_mask_of(mask: Path, image: Path) -> bool:
    try:
        with Image.open(mask) as drawn, Image.open(image) as photo:
            alike = drawn.size == photo.size
            few, many = drawn.getcolors(MANY_VALUES), photo.getcolors(MANY_VALUES)
            return alike and few is not None and many is None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False  # whoever decodes all images says so


def _plain(name: str) -> str:
    return re.sub(r'[^a-z0-9]', '', name.lower())


def _stem(name: str) -> str:
    """Return the word of a folder's name without that of a split."""
    word = _plain(name)
    for spelling, _ in _SPELLINGS:
        rests = {word.removeprefix(spelling), word.removesuffix(spelling)}
        for rest in rests & _NEVER_CLASSES:
            return rest
    return word


def _lists_in(folder: Path) -> dict[str, Path]:
    """Return the files in a folder that are called like lists of splits."""
    files = [f for f in folder.iterdir() if f.suffix.lower() in ('.txt', '.lst')]
    lists: dict[str, Path] = {}
    for file in sorted(files, key=lambda f: (len(f.stem), f)):
        word = re.sub(
            '^(list|split|ids)|(list|split|ids|files|names|set)$', '', _plain(file.stem)
        )
        split = split_of(word)
        if split:
            lists.setdefault(split, file)
    whole = [file for file in files if file.stem.lower() == 'trainval']
    if not lists and whole:
        return dict(train=whole[0])
    return {split: lists[split] for split in SPLIT_NAMES if split in lists}


def find_split_lists(root: Path, names: Sequence[str]) -> dict[str, str] | None:
    """Read the lists of training, validation and test images of a data set.

    They lie in the folder itself, in one right below it, or in one of ImageSets
    (Segmentation first), and are called train.txt, val.txt, test.txt, train_list.txt
    and so on (or trainval.txt alone). Each line begins with the name of an image, with
    or without its folders and ending.

    Returns:
        The split of each listed image, by its path; None without lists.
    """
    inside = [root / name for name in folders_in(root)]
    inside += [
        folder / name
        for folder in inside
        if _plain(folder.name) == 'imagesets'
        for name in folders_in(folder)
    ]
    inside.sort(key=lambda f: (f.name.lower() not in ('segmentation', 'imagesets'), f))
    lists = next(filter(None, map(_lists_in, [root, *inside])), None)
    if lists is None:
        return None
    known: dict[str, str] = {}
    for name in names:
        stem = os.path.splitext(name)[0]
        for spelling in (os.path.basename(stem), os.path.basename(name), stem, name):
            known[spelling] = '' if known.get(spelling, name) != name else name
    given: dict[str, str] = {}
    for split, file in lists.items():
        for line in read_lines(file):
            word = line if line in known else line.split()[0].replace('\\', '/')
            tails = [word.split('/', i)[-1] for i in range(word.count('/') + 1)]
            image = next((known[tail] for tail in tails if known.get(tail)), None)
            if image is None:
                raise UserError(
                    f'{file} lists {line!r}, which is no image below {root}. Correct '
                    'the list, or take it away so that a split is made anew.'
                )
            if given.setdefault(image, split) != split:
                raise UserError(
                    f'{file}: {line!r} is in {lists[given[image]].name} too. An image '
                    'belongs to one split.'
                )
    return given
