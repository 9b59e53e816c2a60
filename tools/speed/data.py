#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure what data costs beside a training step: decoding, resizing, normalising.

Writes JPEG images to a temporary folder and reads them as VTAB-1k's configs do, with
and without decoded images in memory. Without workers nothing is hidden, for everything
happens in this process: on the CPU seconds of the processor are measured. With workers,
or on a GPU, it is what a training step waits for its batch, by the wall clock. Writes
OUT.json.
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
    add('--batch-size', type=int, default=8)
    add('--num-tokens', type=int, default=10, metavar='M')
    add('--images', type=int, default=1000)
    add('--width', type=int, default=300, help='of the image files, in pixels')
    add('--height', type=int, default=200, help='of the image files, in pixels')
    add('--workers', type=int, default=0, help='processes that read images')
    add('--device', default='cpu', choices=('cpu', 'cuda'))
    add('--dtype', default='fp32', choices=('fp32', 'bf16'), help='bf16: autocast')
    add('--threads', type=int, default=1)
    add('--repeats', type=int, default=5, help='rounds of one step and one batch')
    add('--out', default='work_dirs/benchmark/data', help='result without suffix')
    return declared('mmvpt.bench.speed.data:main')(parser.parse_args(argv))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
