# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Which images make a split: VTAB-1k's order, shares of a part, a held-out tenth."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from .task import Item, RefusedError, Rule

TRAIN, VAL = 800, 200
SLICE = re.compile(r'(?P<part>\w+)(?:\[(?P<start>\d*)%?:(?P<stop>\d*)%?\])?')


def shuffled(part: str, items: Sequence[Item]) -> list[Item]:
    """Order images as TensorFlow Datasets stores them.

    It sorts the records of a part by the md5 of the part's name and the record's key,
    so 'the first 800 of train' can be told without TensorFlow. The 13 tasks whose
    unambiguous lists were published with VPT (``vtab_trainval_splits.json``) agree.

    Args:
        part: Name of the part: 'train', 'validation' or 'test'.
        items: Its images; ``Item.key`` is the record's key.
    """
    return sorted(items, key=lambda item: hash_order(part, item.key))


def hash_order(part: str, key: str) -> str:
    """Return the md5 that orders a record, as 32 hexadecimal digits."""
    return hashlib.md5(f'{part}{key}'.encode()).hexdigest()


def cut(text: str, parts: Mapping[str, Sequence[Item]]) -> list[Item]:
    """Return a part or a share of it, such as 'train[80%:90%]', in stored order.

    Raises:
        RefusedError: If the source has no such part.
    """
    match = SLICE.fullmatch(text)
    if match is None:
        raise ValueError(f'Not a part or a share of one: {text!r}.')
    if match['part'] not in parts:
        raise RefusedError(
            f'The source has no images for {match["part"]!r}, only for '
            f'{", ".join(parts)}. Add the archive that holds them.'
        )
    items = list(parts[match['part']])
    start, stop = (
        round(len(items) * int(match[end] or default) / 100)
        for end, default in (('start', 0), ('stop', 100))
    )
    return items[start:stop]


def vtab_splits(
    rule: Rule, parts: Mapping[str, Sequence[Item]]
) -> dict[str, list[Item]]:
    """Make train800, val200 and test from the published parts, in stored order.

    Args:
        rule: Where the lists come from.
        parts: Part -> its images in stored order, see :func:`shuffled`.
    """
    return {
        'train800': cut(rule.train, parts)[:TRAIN],
        'val200': cut(rule.val, parts)[:VAL],
        'test': cut(rule.test, parts),
    }


def hold_out(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Hold out a tenth, rounded up, for validation; the same one every time.

    Images are drawn in the order of a hash of their key. A class's last training image
    stays.

    Args:
        items: The official training images.

    Returns:
        Training and validation images, each in the order of ``items``.
    """
    wanted = -(-len(items) // 10)
    left = Counter(item.label for item in items)
    drawn: set[str] = set()
    for item in sorted(items, key=lambda item: hash_order('mmvpt-val', item.key)):
        if len(drawn) == wanted:
            break
        if left[item.label] > 1:
            left[item.label] -= 1
            drawn.add(item.key)
    train = [item for item in items if item.key not in drawn]
    return train, [item for item in items if item.key in drawn]


def listed(
    keys: Sequence[str], pool: Sequence[Item], where: str, what: str
) -> list[Item]:
    """Return the images that a published list names, in its order.

    Args:
        keys: Keys of the list.
        pool: Images to choose from.
        where: The list, for messages.
        what: The task, for messages.
    """
    known = {item.key: item for item in pool}
    missing = [key for key in keys if key not in known]
    if missing:
        raise RefusedError(
            f'{where}: {len(missing)} of {len(keys)} images of {what} are not in the '
            f'source, the first is {missing[0]!r}.'
        )
    return [known[key] for key in keys]
