#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure epochs with and without the cache of the frozen first layers.

Prompts enter the last layers only. Epochs with and without the cache take turns; the
first one with it fills it. On the CPU seconds of the processor are measured, on a GPU
those of the wall clock. Writes OUT.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> dict:
    """Parse the command line, run the benchmark and return what it measured."""
    from mmvpt.command_line import declared

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add('--arch', default='vit-b')
    add('--image-size', type=int, default=224, help='side in pixels')
    add('--images', type=int, default=32, help='images of an epoch')
    add('--batch-size', type=int, default=8)
    add('--num-tokens', type=int, default=10, metavar='M')
    add('--late', type=int, default=3, help='how many last layers have prompts')
    add('--device', default='cpu', choices=('cpu', 'cuda'))
    add('--dtype', default='fp32', choices=('fp32', 'bf16'), help='bf16: autocast')
    add('--threads', type=int, default=1)
    add('--repeats', type=int, default=3, help='epochs of each way after the first')
    add('--folder', help='where the cache goes; a temporary folder by default')
    add('--out', default='work_dirs/benchmark/prefix', help='result without suffix')
    return declared('mmvpt.bench.speed.prefix:main')(parser.parse_args(argv))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
