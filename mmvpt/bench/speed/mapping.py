# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The time of DA-VPT's grouping of classes."""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from mmvpt.engine.guidance.clustering import class_means, cosine_kmeans, normalize_rows


def main(args: argparse.Namespace) -> list[float]:
    """Measure and print; return the seconds of every update."""
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    shape = (args.classes, args.dims)
    sums = torch.randn(shape, dtype=torch.float64, generator=generator)
    counts = torch.randint(1, 60, (args.classes,), generator=generator)
    seconds = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        rows = normalize_rows(class_means(sums, counts))
        # Tolerance 0 and a random start: all 20 steps, the most there can be.
        cosine_kmeans(rows, args.prompts, tolerance=0, generator=generator)
        seconds.append(time.perf_counter() - start)
    print(
        f'{args.classes} classes, {args.prompts} prompts, {args.threads} threads: '
        f'median {statistics.median(seconds):.4f} s '
        f'({min(seconds):.4f} to {max(seconds):.4f}, {args.repeats} updates)'
    )
    return seconds
