#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure an update of DA-VPT's map: class means, k-means, everything but training.

Prints the median and the range of seconds on the CPU, where clustering always runs.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> list[float]:
    """Measure, and return the seconds of every update."""
    from mmvpt.command_line import declared, run

    return run(declared('mmvpt.bench.speed.mapping:measure_updates'), __doc__, argv)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
