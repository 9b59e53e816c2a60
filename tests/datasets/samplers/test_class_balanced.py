# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Batches of few classes, and passes over some images of each class."""

import pickle
from collections import Counter

import numpy as np
import pytest
from mmengine.dataset import BaseDataset, ConcatDataset

from mmvpt.datasets import SeededSampler
from mmvpt.datasets.samplers import ClassBalancedBatchSampler, ClassMeansSampler
from mmvpt.registry import DATA_SAMPLERS


class Labels(BaseDataset):
    """A data set that knows labels only."""

    def __init__(self, labels):
        self.labels = list(labels)
        super().__init__()

    def load_data_list(self):
        return [dict(gt_label=label) for label in self.labels]


def balanced(labels, batch_size, per_class=2, rank=0, world_size=1, seed=0, epoch=0):
    sampler = SeededSampler(Labels(labels), seed=seed)
    sampler.rank, sampler.world_size = rank, world_size
    sampler.set_epoch(epoch)
    return ClassBalancedBatchSampler(sampler, batch_size, per_class)


def evenly(classes, per_class):
    return [i % classes for i in range(classes * per_class)]


def test_published_counts():
    """20 classes of 5 images, batch 32: 3 batches of 16 classes, 2 images each."""
    labels = evenly(20, 5)
    batches = list(balanced(labels, 32))
    assert len(batches) == len(balanced(labels, 32)) == 3
    for batch in batches:
        counts = Counter(labels[i] for i in batch)
        assert len(batch) == 32 and set(counts.values()) == {2} and len(counts) == 16
        assert len(set(batch)) == 32
    assert len(balanced(evenly(20, 50), 32)) == 31


@pytest.mark.parametrize('per_class', [1, 2, 4])
def test_each_drawn_class_has_as_many_images(per_class):
    labels = evenly(10, 6)
    for batch in balanced(labels, 8, per_class):
        counts = Counter(labels[i] for i in batch)
        assert set(counts.values()) == {per_class} and len(counts) == 8 // per_class


def test_fewer_classes_than_places():
    """With 3 classes for 8 places, each class comes 2 or 3 times."""
    labels = evenly(3, 20)
    for batch in balanced(labels, 16):
        counts = Counter(labels[i] for i in batch)
        assert sorted(counts.values()) in ([4, 6, 6], [6, 6, 4])
        assert len(set(batch)) == 16  # enough images: none twice


def test_small_classes_repeat_images():
    labels = [0] * 1 + [1] * 7
    for batch in balanced(labels, 4):
        assert Counter(labels[i] for i in batch) == {0: 2, 1: 2}
        assert len({i for i in batch if labels[i] == 1}) == 2


@pytest.mark.parametrize('classes', [40, 8, 3])
def test_ranks_share_what_one_process_would_draw(classes):
    labels = evenly(classes, 12)
    whole = balanced(labels, 24, world_size=1)
    parts = [balanced(labels, 8, rank=r, world_size=3) for r in range(3)]
    assert len(whole) == len(parts[0]) == len(labels) // 24
    for batch, *shares in zip(whole, *parts):
        found = [(int(i), i.seed) for share in shares for i in share]
        assert sorted(found) == sorted((int(i), i.seed) for i in batch)
        assert len({i for i, _ in found}) == 24  # disjoint: there are enough images
        if classes >= 4:
            for share in shares:
                assert len({labels[i] for i in share}) == 4


def test_seeds_and_epochs():
    labels = evenly(6, 10)

    def draws(**options):
        return [[(int(i), i.seed) for i in b] for b in balanced(labels, 6, **options)]

    assert draws() == draws()
    assert draws() != draws(epoch=1) and draws() != draws(seed=1)
    seeds = [seed for batch in draws() for _, seed in batch]
    assert len(set(seeds)) == len(seeds)
    batch = pickle.loads(pickle.dumps(next(iter(balanced(labels, 6)))))
    assert [i.seed for i in batch] == [seed for _, seed in draws()[0]]


def test_every_image_gets_its_turn():
    labels = [0] * 40 + [1] * 5 + [2] * 15
    batches, seen = balanced(labels, 4), set()
    for epoch in range(30):
        batches.sampler.set_epoch(epoch)
        for batch in batches:
            seen.update(batch)
    assert len(seen) == 60


@pytest.mark.parametrize('samples_per_class', [None, 1, 3, 7])
def test_one_pass_for_class_means(samples_per_class):
    labels = [0] * 4 + [1] * 9 + [5] * 2
    options = dict(samples_per_class=samples_per_class, seed=3)
    drawn = []
    for rank in range(2):
        sampler = ClassMeansSampler(Labels(labels), **options)
        sampler.rank, sampler.world_size = rank, 2
        drawn.append(list(sampler))
        assert len(sampler) == len(drawn[-1])
    drawn = [i for rank in drawn for i in rank]
    if samples_per_class is None:
        assert sorted(drawn) == list(range(15))
        return
    counts = Counter(labels[i] for i in drawn)
    assert counts == dict.fromkeys([0, 1, 5], samples_per_class)
    for label, size in ((0, 4), (1, 9), (5, 2)):
        times = Counter(i for i in drawn if labels[i] == label)
        assert len(times) == min(size, samples_per_class)
        assert max(times.values()) - min(times.values()) <= 1


@pytest.mark.parametrize('max_images', [1, 6, 15, 99])
def test_some_images_for_class_means(max_images):
    drawn = []
    for rank in range(2):
        sampler = ClassMeansSampler([None] * 15, seed=3, max_images=max_images)
        sampler.rank, sampler.world_size = rank, 2
        drawn.append(list(sampler))
        assert len(sampler) == len(drawn[-1])
    drawn = sum(drawn, [])
    assert len(set(drawn)) == len(drawn) == min(max_images, 15)
    assert max_images != 6 or sorted(drawn) != list(range(6))


def test_labels_of_wrappers_and_of_own_methods():
    one, two = Labels([0, 1, 0]), Labels([2, 2, 1])
    whole = ConcatDataset([one, two])
    batches = ClassBalancedBatchSampler(SeededSampler(whole, seed=0), 2, 1)
    assert batches.classes == [[0, 2], [1, 5], [3, 4]]
    one.get_gt_labels = lambda: np.array([1, 0, 0])
    batches = ClassBalancedBatchSampler(SeededSampler(one, seed=0), 2, 1)
    assert batches.classes == [[1, 2], [0]]


def test_refusals():
    plain = DATA_SAMPLERS.build(dict(type='DefaultSampler', dataset=[0], seed=0))
    with pytest.raises(ValueError, match='SeededSampler.* got DefaultSampler'):
        ClassBalancedBatchSampler(plain, 4)
    with pytest.raises(ValueError, match='divide the batch size 5, got 2'):
        balanced(evenly(4, 4), 5)
    with pytest.raises(ValueError, match='16 images do not fill a batch of 32'):
        balanced(evenly(4, 4), 32)
    with pytest.raises(ValueError, match='images without a gt_label'):
        balanced([0, -1, 2, 3], 2)
    with pytest.raises(ValueError, match='does not tell one gt_label'):
        balanced([[0, 1], [1], [0]], 2)
    with pytest.raises(ValueError, match='at least 1, got 0'):
        ClassMeansSampler(Labels([0]), 0, seed=0)
    with pytest.raises(ValueError, match='max_images must be at least 1, got 0'):
        ClassMeansSampler(Labels([0]), seed=0, max_images=0)
