# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The time of DA-VPT's grouping of classes."""

from __future__ import annotations

import statistics
import time

import torch

from mmvpt.engine.guidance.clustering import class_means, cosine_kmeans, normalize_rows


def measure_updates(
    *,
    classes: int = 555,
    prompts: int = 20,
    dims: int = 768,
    repeats: int = 20,
    threads: int = 1,
) -> list[float]:
    """Measure and print; return the seconds of every update.

    Args:
        classes: Number of classes (K).
        prompts: Number of prompts (M).
        dims: Channels (C).
        repeats: Number of updates.
        threads: Threads of PyTorch.
    """
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    shape = (classes, dims)
    sums = torch.randn(shape, dtype=torch.float64, generator=generator)
    counts = torch.randint(1, 60, (classes,), generator=generator)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        rows = normalize_rows(class_means(sums, counts))
        # Tolerance 0 and a random start: all 20 steps, the most there can be.
        cosine_kmeans(rows, prompts, tolerance=0, generator=generator)
        seconds.append(time.perf_counter() - start)
    print(
        f'{classes} classes, {prompts} prompts, {threads} threads: '
        f'median {statistics.median(seconds):.4f} s '
        f'({min(seconds):.4f} to {max(seconds):.4f}, {repeats} updates)'
    )
    return seconds
