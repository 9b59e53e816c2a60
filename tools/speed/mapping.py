#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure an update of DA-VPT's map: class means, k-means, everything but training.

Prints the median and the range of seconds on the CPU, where clustering always runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> list[float]:
    """Parse the command line, run the benchmark and return what it measured."""
    from mmvpt.command_line import declared

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--classes', type=int, default=555)
    parser.add_argument('--prompts', type=int, default=20)
    parser.add_argument('--dims', type=int, default=768, help='channels')
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--threads', type=int, default=1)
    return declared('mmvpt.bench.speed.mapping:main')(parser.parse_args(argv))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
