# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Class means and k-means; the authors' figures are in test_distribution_aware_*."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmvpt.engine.guidance.clustering import (
    add_to_classes,
    class_means,
    cosine_kmeans,
    nearest,
    normalize_rows,
)


def literal_sums(features, classes, num_classes):
    sums = torch.zeros(num_classes, features.shape[1]).double()
    for feature, label in zip(features, classes):
        if label >= 0:
            sums[label] += feature
    return sums


def test_sums_and_counts():
    features = torch.randn(9, 4)
    classes = torch.tensor([3, 0, 3, -1, 3, 1, 0, -1, 3])
    sums, counts = torch.zeros(5, 4).double(), torch.zeros(5).long()
    for part in (slice(0, 4), slice(4, 9)):
        add_to_classes(sums, counts, features[part], classes[part])
    expected = literal_sums(features, classes, 5)
    torch.testing.assert_close(sums, expected, rtol=0, atol=1e-12)
    assert counts.tolist() == [2, 1, 0, 4, 0]
    means = class_means(sums, counts)
    torch.testing.assert_close(means[3], expected[3] / 4)
    assert not means[2].any() and not means[4].any()


def test_an_image_with_several_classes_counts_for_each():
    features = torch.randn(3, 4)
    several = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 0, 1]]).bool()
    sums, counts = torch.zeros(3, 4).double(), torch.zeros(3).long()
    add_to_classes(sums, counts, features, several)
    assert counts.tolist() == [1, 0, 2]
    torch.testing.assert_close(sums[2], (features[0] + features[2]).double())


class Sizes(TorchDispatchMode):
    """Notes how many numbers each operation made, in-place ones apart."""

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and all(out is not arg for arg in args):
            self.made.append(out.numel())
        return out


def test_work_does_not_grow_with_the_number_of_classes():
    features, classes = torch.randn(8, 4), torch.randint(0, 5, (8,))
    made = []
    for num_classes in (10, 100_000):
        sums = torch.zeros(num_classes, 4).double()
        counts = torch.zeros(num_classes).long()
        with Sizes() as sizes:
            add_to_classes(sums, counts, features, classes)
        made.append(sizes.made)
    assert made[0] == made[1] and len(made[0]) > 3


@pytest.mark.parametrize('num_classes', [5, 50])
def test_classes_are_counted_alike_however_they_are_given(num_classes):
    """By number or by membership, more of them than features or fewer."""
    features = torch.randn(30, 4).double()
    classes = torch.randint(-1, 4, (30,))
    found = []
    for given in (
        classes,
        classes.reshape(5, 6),
        classes[:, None] == torch.arange(num_classes),
    ):
        sums = torch.zeros(num_classes, 4).double()
        counts = torch.zeros(num_classes).long()
        add_to_classes(sums, counts, features, given)
        found.append((sums, counts))
    expected = literal_sums(features, classes, num_classes)
    for sums, counts in found:
        torch.testing.assert_close(sums, expected)
        assert counts.tolist() == [(classes == k).sum() for k in range(num_classes)]


def test_normalisation():
    rows = torch.randn(5, 7).double() * 3 + 2
    layer = normalize_rows(rows)
    torch.testing.assert_close(layer.mean(1), torch.zeros(5).double())
    torch.testing.assert_close(
        layer.var(1, correction=0), torch.ones(5).double(), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(
        normalize_rows(rows, 'l2').norm(dim=1), torch.ones(5).double()
    )
    assert torch.equal(normalize_rows(rows, 'none'), rows)
    with pytest.raises(ValueError, match="got 'l1'"):
        normalize_rows(rows, 'l1')


def blobs(generator, num=4, each=6):
    centers = torch.eye(num, 8).double() * 5
    noise = torch.randn(num * each, 8, generator=generator).double()
    return centers.repeat_interleave(each, 0) + 0.2 * noise


def test_warm_start_finds_the_blobs_in_their_order():
    generator = torch.Generator().manual_seed(0)
    rows = blobs(generator)
    start = torch.eye(4, 8).double()[[2, 0, 3, 1]]
    clusters, centroids = cosine_kmeans(rows, 4, start)
    expected = torch.tensor([1, 3, 0, 2]).repeat_interleave(6)
    assert torch.equal(clusters, expected)
    for k in range(4):
        torch.testing.assert_close(centroids[k], rows[clusters == k].mean(0))


def test_random_start_is_the_generators():
    rows = torch.randn(40, 8).double()
    runs = [
        cosine_kmeans(rows, 5, generator=torch.Generator().manual_seed(seed))[0]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_empty_clusters_keep_their_centroid():
    generator = torch.Generator().manual_seed(0)
    rows = blobs(generator, num=3)
    start = torch.cat([torch.eye(3, 8), -torch.ones(1, 8)]).double()
    clusters, centroids = cosine_kmeans(rows, 4, start)
    assert set(clusters.tolist()) == {0, 1, 2}
    assert torch.equal(centroids[3], start[3])


@pytest.mark.parametrize('max_iters', [1, 2, 3, 50])
def test_assignment_belongs_to_the_centroids(max_iters):
    rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(3)).double()
    clusters, centroids = cosine_kmeans(rows, 6, rows[:6], max_iters=max_iters)
    assert torch.equal(clusters, nearest(rows, centroids))


def test_fewer_rows_than_clusters():
    rows = torch.randn(3, 4)
    with pytest.raises(ValueError, match='at least 4 classes .* got 3'):
        cosine_kmeans(rows, 4)
    clusters, _ = cosine_kmeans(rows, 4, torch.randn(4, 4))  # from centroids it works
    assert len(clusters) == 3
