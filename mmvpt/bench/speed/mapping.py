# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure an update of DA-VPT's map: class means, k-means, everything but training.

Prints the median and the range of seconds on the CPU, where clustering always runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch

from mmvpt.engine.guidance.clustering import class_means, cosine_kmeans, normalize_rows


def main(argv: Sequence[str] | None = None) -> list[float]:
    """Measure and print; return the seconds of every update."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--classes', type=int, default=555)
    parser.add_argument('--prompts', type=int, default=20)
    parser.add_argument('--dims', type=int, default=768, help='channels')
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args(argv)
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
