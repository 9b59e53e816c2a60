# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
from collections import Counter
from pathlib import Path

import pytest

from mmvpt.datasets.own import Found, OwnImage, group_rare, split_images, split_pairs
from mmvpt.errors import UserError


def found(split=None, **counts):
    return Found(
        Path('root'),
        [
            OwnImage(f'{name}/{i}.png', name, split, '')
            for name, count in counts.items()
            for i in range(count)
        ],
    )


def test_every_class_in_every_split():
    splits = split_images(found(a=100, b=20, c=3, d=2), val=0.15, test=0.1)
    counts = {split: Counter(i.label for i in part) for split, part in splits.items()}
    assert counts == dict(
        train=dict(a=75, b=15, c=1, d=1),
        val=dict(a=15, b=3, c=1, d=1),
        test=dict(a=10, b=2, c=1),
    )
    everything = [image for part in splits.values() for image in part]
    assert len(everything) == len(set(everything)) == 125


def test_seed_and_paths_alone_decide():
    data = found(a=30, b=30)
    first = split_images(data)
    assert split_images(Found(data.root, data.images[::-1])) == first
    assert split_images(data, seed=1) != first
    # more images: those that were held out mostly stay so
    more = split_images(found(a=33, b=30))
    assert len(set(first['val']) & set(more['val'])) >= len(first['val']) - 2
    assert {i for i in more['val'] if i.label == 'b'} == {
        i for i in first['val'] if i.label == 'b'
    }


def test_given_splits_stay():
    data = found('train', a=10, b=10)
    held = [OwnImage(f'test/{n}.png', n, 'test', '') for n in 'ab']
    splits = split_images(Found(data.root, data.images + held))
    assert splits['test'] == held  # none of the training images
    assert Counter(i.label for i in splits['val']) == dict(a=2, b=2)
    val = [image._replace(split='val') for image in held]
    splits = split_images(Found(data.root, data.images + val))
    assert list(splits) == ['train', 'val']
    assert splits['val'] == val
    assert splits['train'] == data.images


@pytest.mark.parametrize(
    ('counts', 'options', 'message'),
    [
        (dict(a=5), {}, "one class, 'a'"),
        (dict(a=5, b=1), {}, r'1 of 2 classes have a single image(.|\n)*b: 1'),
        (dict(a=5, b=5), dict(val=0.0), 'val must be above 0'),
        (dict(a=5, b=5), dict(val=0.5, test=0.5), 'both together below 1'),
    ],
)
def test_refusals(counts, options, message):
    with pytest.raises(UserError, match=message):
        split_images(found(**counts), **options)


def test_small_classes_are_joined():
    data = found(a=5, b=1, c=2)
    assert group_rare(data, 3) == ['b', 'c']
    assert {n: len(i) for n, i in data.by_label().items()} == dict(a=5, other=3)
    assert 'b, c' in data.notes[0]
    with pytest.raises(UserError, match="class 'other' already"):
        group_rare(found(other=5, b=1), 3)


def test_pairs_count_for_their_rarest_class():
    classes = {f'{i}': [0, 1] if i < 4 else [0] for i in range(20)}
    classes['alone'] = [0, 1, 2]
    splits = split_pairs(classes, dict.fromkeys(classes))
    assert 'alone' in splits['train']
    assert {split: len(part) for split, part in splits.items()} == dict(
        train=15, val=3, test=3
    )
    assert any(classes[name] == [0, 1] for name in splits['train'])


def test_many_small_groups_of_pairs_keep_the_shares():
    classes = {f'{label}-{i}': [0, label] for label in range(1, 31) for i in range(3)}
    splits = split_pairs(classes, dict.fromkeys(classes), val=0.2, test=0.1)
    assert [len(splits[s]) for s in ('train', 'val', 'test')] == [63, 18, 9]
    assert len({classes[name][1] for name in splits['train']}) == 30


def test_pairs_with_given_splits_and_few():
    classes = {name: [0] for name in 'abcd'}
    given = dict(a='train', b='train', c='val', d='train')
    assert split_pairs(classes, given) == dict(train=['a', 'b', 'd'], val=['c'])
    given = dict(a='train', b='train', c='test', d='train')
    splits = split_pairs(classes, given)
    assert splits['test'] == ['c'] and len(splits['val']) == 1
    # every class in one image: still some for validation
    splits = split_pairs(dict(a=[0], b=[1], c=[2]), dict.fromkeys('abc'))
    assert sorted(map(len, splits.values())) == [1, 1, 1]
    with pytest.raises(UserError, match='too few'):
        split_pairs(dict(a=[0]), dict(a=None))
