# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""One folder for each class."""

from __future__ import annotations

import os
from pathlib import Path

from mmvpt.datasets.image_files import is_leftover
from mmvpt.errors import UserError

from .found import (
    Found,
    OwnImage,
    check_listable,
    files_below,
    first_few,
    folders_in,
    is_image,
    split_of,
)
from .layouts import find_split_lists, refuse_masks

LAYOUT = (
    'Expected one folder of images for each class, such as flowers/rose/1.jpg, or the '
    'same below train, val and test.'
)


def read_folder(root: str | os.PathLike) -> Found:
    """Find images and classes in a folder of class folders.

    A folder ``train`` (or ``training``) says that the data is split already; then class
    folders are below it, and below ``val`` and ``test`` if they are there. So do lists
    of images, ``train.txt`` and so on, if all their lines name images.

    Args:
        root: The folder, which is only read.

    Returns:
        Images in the order of their paths.

    Raises:
        UserError: If there is no such folder, it holds no class folders, its splits
            and classes do not fit together, or folders and files are images and masks.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise UserError(f'Folder {str(root)!r} does not exist.')
    names = folders_in(root)
    splits = {name: split_of(name) for name in names}
    if 'train' not in splits.values():
        found = Found(root, [], _loose(root))
        _read_classes(found, names, '', None)
        _follow_lists(found)
    else:
        others = [name for name, split in splits.items() if split is None]
        if others:
            raise UserError(
                f'{root} holds split folders ({", ".join(set(names) - set(others))}) '
                f'and others ({", ".join(others[:3])}), so it is unclear what the '
                f'classes are. {LAYOUT}'
            )
        if len(set(splits.values())) < len(splits):
            raise UserError(
                f'{root} holds two folders for the same split: {", ".join(names)}.'
            )
        found = Found(root, [], _loose(root))
        for name, split in splits.items():
            found.notes += _loose(root / name)
            _read_classes(found, folders_in(root / name), f'{name}/', split)
        _check_known(found)
    if not found.images:
        raise UserError(f'{_what(root)} {LAYOUT}')
    return found


def _loose(folder: Path) -> list[str]:
    """Say which images lie beside the class folders."""
    loose = [item.name for item in folder.iterdir() if is_image(item.name)]
    if not loose:
        return []
    return [f'{len(loose)} images in {folder} itself have no class and are left out.']


def _read_classes(
    found: Found, names: list[str], below: str, split: str | None
) -> None:
    others = 0
    refuse_masks(found.root, names, below)
    for label in names:
        check_listable(label)
        folder = found.root / below / label
        paths = [f'{below}{label}/{name}' for name in files_below(folder)]
        images = [check_listable(path) for path in paths if is_image(path)]
        others += len(paths) - len(images)
        if not images:
            found.notes.append(f'{folder} holds no image: it is no class.')
        found.images += [OwnImage(path, label, split, path) for path in images]
    if others:
        place = found.root / below
        found.notes.append(f'{others} files below {place} are no images: left out.')


def _follow_lists(found: Found) -> None:
    """Take the split of the data set's own lists of images, if it has some."""
    try:
        given = find_split_lists(found.root, [image.path for image in found.images])
    except UserError as error:
        found.notes.append(f'lists of images were not followed: {error}')
        return
    if given is None:
        return
    left_out = len(found.images) - len(given)
    found.images = [
        image._replace(split=given[image.path])
        for image in found.images
        if image.path in given
    ]
    found.notes.append(
        f'the split is that of the lists in {found.root}; {left_out} images are in '
        'none of them.'
    )
    _check_known(found)


def _check_known(found: Found) -> None:
    """Refuse images of classes that no training image shows."""
    known = {image.label for image in found.images if image.split == 'train'}
    strange = [image.path for image in found.images if image.label not in known]
    if strange and known:
        raise UserError(
            f'{len(strange)} images are of classes without training images:\n'
            f'{first_few(strange)}\n'
            'Rename the folders so that they agree, or remove them.'
        )


def _what(root: Path) -> str:
    """Say what is in a folder without class folders."""
    names = [item.name for item in root.iterdir() if not is_leftover(item.name)]
    tables = [name for name in names if name.lower().endswith(('.csv', '.tsv'))]
    if not names:
        return f'{root} is empty.'
    if tables:
        return (
            f'{root} has no class folders with images, but {tables[0]}: give '
            f'{root / tables[0]} to read classes from it.'
        )
    return f'{root} has no class folders with images.'
