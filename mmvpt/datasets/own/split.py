# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Stratified splits that depend on the seed and the paths alone."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from mmvpt.errors import UserError

from .found import Found, OwnImage, first_few, in_order

SPLITS = ('train', 'val', 'test')
Item = TypeVar('Item')


def split_images(
    found: Found, val: float = 0.15, test: float = 0.15, seed: int = 0
) -> dict[str, list[OwnImage]]:
    """Divide the images of every class among training, validation and test.

    A class of n images gives ``round(n * val)`` to validation and ``round(n * test)``
    to test, one at least, and keeps one at least for training; of two images one is for
    validation. Which ones, a hash of seed and path decides: neither the order of files
    nor a library's random numbers matter, and with a new image most others stay where
    they are.

    Splits that the data has are respected: nothing leaves them, but validation is taken
    from training where there is none. A test split is only made if there is no
    validation split either.

    Args:
        found: The images.
        val: Share for validation, above 0.
        test: Share for test, 0 for no test split.
        seed: Another seed, another split.

    Returns:
        The images of ``train``, ``val`` and, if there are any, ``test``, in the order
        of labels and paths.

    Raises:
        UserError: If a share is out of range, there are fewer than two classes, or
            a class has too few images.
    """
    check_shares(val, test)
    groups = found.by_label()
    if len(groups) < 2:
        raise UserError(
            f'{found.root} has one class, {next(iter(groups))!r}: there is nothing to '
            'tell apart. Add the folder of another class.'
        )
    val, test = _open_shares({image.split for image in found.images}, val, test)
    small = {
        name: len(images)
        for name, images in groups.items()
        if sum(image.split in (None, 'train') for image in images) < 1 + (val > 0)
    }
    if small:
        names = (f'{name}: {count}' for name, count in small.items())
        raise UserError(
            f'{len(small)} of {len(groups)} classes have a single image, but training '
            f'and validation need one each:\n{first_few(names)}\n'
            'Add images, remove these classes, or join all small classes into one with '
            '--group-below 2.'
        )
    splits: dict[str, list[OwnImage]] = {split: [] for split in SPLITS}
    for images in groups.values():
        for image in images:
            if image.split in ('val', 'test'):
                splits[image.split].append(image)
        free = {i.path: i for i in images if i.split in (None, 'train')}
        drawn = draw(list(free), val, test, seed)
        for split, paths in drawn.items():
            splits[split] += [free[path] for path in sorted(paths)]
    order = {name: label for label, name in enumerate(groups)}
    for part in splits.values():
        part.sort(key=lambda image: (order[image.label], image.path))
    return {split: part for split, part in splits.items() if part}


def split_pairs(
    classes: Mapping[str, Sequence[int]],
    given: Mapping[str, str | None],
    val: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
) -> dict[str, list[str]]:
    """Divide images with masks; each counts for the rarest class that it shows.

    Every such group has an image for training, and shares hold over all together.

    Args:
        classes: What each image shows, by its name.
        given: The split that the data has each image in, None for none.
        val: As in :func:`split_images`, as are the others.
        test: Share for test.
        seed: Another seed, another split.

    Returns:
        The names in each split, sorted.
    """
    check_shares(val, test)
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name, split in given.items():
        if split in ('val', 'test'):
            splits[split].append(name)
    val, test = _open_shares(set(given.values()), val, test)
    free = sorted(name for name, split in given.items() if split in (None, 'train'))
    count = Counter(label for name in free for label in classes[name])
    groups: dict[int, list[str]] = {}
    for name in free:
        rarest = min(classes[name], key=lambda label: (count[label], label), default=-1)
        groups.setdefault(rarest, []).append(name)
    _deal(groups, splits, dict(train=1 - val - test, val=val, test=test), seed)
    if val > 0 and not splits['val'] and len(free) > 1:  # every class is too rare
        held = [name for name, split in given.items() if split == 'test']
        splits = draw(free, val, test, seed)
        splits['test'] = [*held, *splits['test']]
    if not splits['train'] or not splits['val']:
        raise UserError(f'{len(given)} images are too few for training and validation.')
    return {split: sorted(part) for split, part in splits.items() if part}


def split_labelled(
    found: Found, val: float = 0.15, test: float = 0.15, seed: int = 0
) -> dict[str, list[OwnImage]]:
    """Divide images with any number of classes, as :func:`split_pairs` does.

    Args:
        found: The images, their labels tuples.
        val: As in :func:`split_images`, as are the others.
        test: Share for test.
        seed: Another seed, another split.
    """
    order = {name: label for label, name in enumerate(found.by_label())}
    if not order:
        raise UserError(f'{found.root}: no image has a label.')
    images = {image.path: image for image in found.images}
    shown = {path: [order[n] for n in image.labels] for path, image in images.items()}
    given = {path: image.split for path, image in images.items()}
    splits = split_pairs(shown, given, val, test, seed)
    return {split: [images[path] for path in part] for split, part in splits.items()}


def check_shares(val: float, test: float) -> None:
    """Raise UserError unless the shares leave something for training."""
    if not (0 < val < 1 and 0 <= test < 1 and val + test < 1):
        raise UserError(
            'val must be above 0, test at least 0, and both together below 1; got '
            f'{val} and {test}.'
        )


def _open_shares(
    given: set[str | None], val: float, test: float
) -> tuple[float, float]:
    """Return the shares that are to be drawn beside the splits that the data has."""
    if 'val' in given:
        return 0.0, 0.0
    return val, 0.0 if 'test' in given else test


def draw(
    paths: Sequence[str], val: float, test: float, seed: int
) -> dict[str, list[str]]:
    """Divide the paths of one class; at least one is left for training."""
    ranked = sorted(paths, key=lambda path: _rank(path, seed))
    free = len(ranked) - 1
    num_val = min(free, max(1, round(len(ranked) * val))) if val > 0 else 0
    num_test = min(free - num_val, max(1, round(len(ranked) * test)))
    num_test = num_test if test > 0 else 0
    held = num_val + num_test
    return dict(val=ranked[:num_val], test=ranked[num_val:held], train=ranked[held:])


def _deal(
    groups: Mapping[int, Sequence[str]],
    splits: dict[str, list[str]],
    shares: Mapping[str, float],
    seed: int,
) -> None:
    """Deal groups out, each image to the split that lacks most of its share.

    So the shares hold over small groups together; the first of each is for training.
    """
    dealt = dict.fromkeys(shares, 0)
    for label in sorted(groups):
        ranked = sorted(groups[label], key=lambda name: _rank(name, seed))
        for name in ranked:
            number = sum(dealt.values()) + 1
            split = max(shares, key=lambda s: shares[s] * number - dealt[s])
            split = 'train' if name == ranked[0] else split
            dealt[split] += 1
            splits[split].append(name)


def _rank(path: str, seed: int) -> bytes:
    return hashlib.sha256(f'{seed}:{path}'.encode()).digest()


def group_rare(found: Found, below: int, name: str = 'other') -> list[str]:
    """Join classes with fewer than ``below`` images; return the names of these.

    Args:
        found: The images; changed in place.
        below: Number of images from which on a class stays.
        name: The joint class.
    """
    if any(not isinstance(image.label, str) for image in found.images):
        raise UserError('--group-below joins classes of images that have one each.')
    groups = found.by_label()
    rare = [label for label, images in groups.items() if len(images) < below]
    if rare and name in groups and name not in rare:
        raise UserError(
            f'There is a class {name!r} already; name the joint class of the '
            f'{len(rare)} small ones with --group-name.'
        )
    found.images = [
        image._replace(label=name) if image.label in rare else image
        for image in found.images
    ]
    if rare:
        found.notes.append(
            f'{len(rare)} classes with fewer than {below} images are now {name!r}: '
            f'{", ".join(in_order(rare)[:5])}{", ..." if len(rare) > 5 else ""}.'
        )
    return rare
