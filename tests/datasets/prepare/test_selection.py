# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The rebuilt lists against those published with VPT (vtab_trainval_splits.json)."""

import hashlib

import pytest

from mmvpt.datasets.prepare import TASKS
from mmvpt.datasets.prepare.selection import cut, hold_out, shuffled, vtab_splits
from mmvpt.datasets.prepare.task import Item


def items(keys):
    return [Item(key, key, i % 5, bytes) for i, key in enumerate(keys)]


CLASSES = TASKS['resisc45'].options['classes']
# Sets whose keys follow from numbering alone, so that all of them can be written down.
KEYS = {
    'cifar100': {'train': map(str, range(50000)), 'test': map(str, range(10))},
    'patch_camelyon': {
        'train': (f'train_{i}' for i in range(262144)),
        'validation': (f'valid_{i}' for i in range(32768)),
        'test': ['test_0'],
    },
    'clevr_count': {
        'train': (f'CLEVR_train_{i:06d}.png' for i in range(70000)),
        'validation': ['CLEVR_val_000000.png'],
    },
    'resisc45': {
        'train': (f'{c}_{c}_{i:03d}.jpg' for c in CLASSES for i in range(1, 701))
    },
}
# sha256 of the sorted names of the published lists, one per line.
PUBLISHED = {
    'cifar100': ('ac3a4b7f6d6c32f7', '7996f329fc85b9ac'),
    'patch_camelyon': ('21eaea5228a490c0', 'd6e3e99d74f635b8'),
    'clevr_count': ('2755742128ae24c0', '6570e8229f7bc1b9'),
    'resisc45': ('b283cadb71f06d56', '0058327227a2a0b1'),
}


@pytest.mark.parametrize('name', KEYS)
def test_lists_are_the_published_ones(name):
    task = TASKS[name]
    parts = {part: shuffled(part, items(keys)) for part, keys in KEYS[name].items()}
    splits = vtab_splits(task.rule, parts)
    as_published = task.options.get('list_key', str)
    for split, digest in zip(('train800', 'val200'), PUBLISHED[name]):
        names = sorted(as_published(item.key) for item in splits[split])
        found = hashlib.sha256('\n'.join(names).encode()).hexdigest()
        assert (split, found[:16]) == (split, digest)


def test_shares():
    parts = {'train': items(map(str, range(10)))}
    assert [i.key for i in cut('train[60%:80%]', parts)] == ['6', '7']
    assert [i.key for i in cut('train[90%:]', parts)] == ['9']
    assert len(cut('train', parts)) == 10
    with pytest.raises(ValueError, match='only for train'):
        cut('test', parts)


def test_a_tenth_is_held_out_and_no_class_is_emptied():
    pool = items(f'{i}.jpg' for i in range(101))
    lonely = Item('lonely.jpg', 'lonely.jpg', 5, bytes)
    train, val = hold_out([*pool, lonely])
    assert (len(train), len(val)) == (91, 11)
    assert lonely in train
    assert {item.key for item in train}.isdisjoint(item.key for item in val)
    # The draw depends on names alone, not on their order.
    again = {item.key for item in hold_out([lonely, *pool[::-1]])[1]}
    assert again == {item.key for item in val}
