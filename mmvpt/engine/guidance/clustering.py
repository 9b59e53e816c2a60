# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Class means and the k-means that groups classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvpt.errors import UserError, one_of

NORMALIZE = ('layer', 'l2', 'none')


def add_to_classes(
    sums: Tensor, counts: Tensor, features: Tensor, classes: Tensor
) -> None:
    """Add features to the sums of their classes, in place.

    The result is the same in every run, also on GPUs. The cost does not grow with the
    number of classes, unless there are more features than classes.

    Args:
        sums: Sums of features, float64 (num_classes, C).
        counts: Numbers of features, (num_classes,).
        features: Of images or patches, (B, C).
        classes: The class of each feature, B in any shape, -1 for those that do not
            count; or which classes it has, bool (B, num_classes): it then counts for
            each.
    """
    features = features.to(sums.dtype)
    if classes.dtype != torch.bool and classes.numel() > len(counts):
        # Adding row by row would be slow: one product instead.
        every = torch.arange(len(counts), device=classes.device)
        classes = classes.flatten()[:, None] == every
    if classes.dtype == torch.bool:
        sums += classes.to(sums.dtype).mT @ features
        counts += classes.sum(dim=0)
        return
    classes = classes.flatten()
    counted = classes >= 0
    # Sorted by class on GPUs, where index_add's atomic additions have no order.
    at = (classes.clamp(min=0),)
    sums.index_put_(at, features * counted[:, None], accumulate=True)
    counts.index_put_(at, counted.long(), accumulate=True)


def class_means(sums: Tensor, counts: Tensor) -> Tensor:
    """Return means (num_classes, C), zero for a class without features."""
    return sums / counts.clamp(min=1)[:, None]


def normalize_rows(rows: Tensor, normalize: str = 'layer') -> Tensor:
    """Normalise each row of (R, C).

    Args:
        rows: The rows.
        normalize: ``layer``: mean 0 and variance 1 (eps 1e-5), which makes cosines
            Pearson correlations; ``l2``: length 1; ``none``: as they are.
    """
    one_of('normalize', normalize, NORMALIZE)
    if normalize == 'layer':
        return F.layer_norm(rows, rows.shape[-1:])
    return F.normalize(rows, dim=-1) if normalize == 'l2' else rows


def cosine_kmeans(
    rows: Tensor,
    num_clusters: int,
    centroids: Tensor | None = None,
    max_iters: int = 20,
    tolerance: float = 1e-4,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Group rows by k-means with cosine similarity.

    Each row goes to the centroid with the largest cosine (of equals the first); a
    centroid becomes the mean of its rows, not normalised again; one without rows stays
    where it is. It ends when the centroids move by less than ``tolerance`` together,
    :math:`\sum_k \|c_k - c'_k\|`. The assignment returned always belongs to the
    centroids returned (in DA-VPT's released code not after ``max_iters``).

    Args:
        rows: (R, C), already normalised as wanted.
        num_clusters: Number of centroids.
        centroids: Where to start, (num_clusters, C); by default from random rows.
        max_iters: At most so many steps.
        tolerance: See above.
        generator: Draws the random rows.

    Returns:
        The cluster of each row, (R,), and the centroids, (num_clusters, C).

    Raises:
        UserError: If there are fewer rows than clusters to start from.
    """
    if centroids is None:
        if len(rows) < num_clusters:
            raise UserError(
                f'k-means needs at least {num_clusters} classes with images to start '
                f'{num_clusters} clusters, got {len(rows)}. Use fewer prompts.'
            )
        order = torch.randperm(len(rows), generator=generator)
        centroids = rows[order[:num_clusters].to(rows.device)]
    for _ in range(max_iters):
        clusters = nearest(rows, centroids)
        sizes = clusters.bincount(minlength=num_clusters)[:, None]
        sums = torch.zeros_like(centroids).index_add_(0, clusters, rows)
        means = sums / sizes.clamp(min=1)
        moved = torch.where(sizes > 0, means, centroids)
        if (moved - centroids).norm(dim=1).sum() < tolerance:
            return clusters, centroids
        centroids = moved
    return nearest(rows, centroids), centroids


def nearest(rows: Tensor, centroids: Tensor) -> Tensor:
    """Return the index of the centroid (M, C) with the largest cosine, (R,)."""
    # The length of a row does not change which of its cosines is largest.
    return (rows @ F.normalize(centroids, dim=-1).mT).argmax(dim=1)
