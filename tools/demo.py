#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Tune a small frozen ViT on real handwritten digits, with every method, and compare.

Exports scikit-learn's digits, pretrains a ViT on digits 0-4 in four rotations, then
tunes it on upright digits 5-9 as the benchmark runner does, with the configs named in
configs/suites/demo.py. Writes records, a table and a picture.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the demo.

    Args:
        argv: Arguments; those of the process by default.
    """
    from mmvpt.bench.console import quiet

    with quiet():  # libraries print when they are imported
        from mmvpt.bench.demo import DATA, DIGITS, run

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default=DIGITS.out, help='where results go')
    parser.add_argument('--data-root', default=DATA, help='where images go')
    parser.add_argument('--seeds', type=int, nargs='+', default=list(DIGITS.seeds))
    parser.add_argument('--workers', type=int, default=min(2, os.cpu_count() or 1))
    run(DIGITS, **vars(parser.parse_args(argv)))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
