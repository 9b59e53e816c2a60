#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Segment scenes of handwritten digits with a small frozen ViT, and compare methods.

Composes scenes with pixel labels of scikit-learn's digits, in ADE20K's folder layout;
pretrains a ViT on scenes of the digits 0-4, freezes it, and tunes it on scenes of the
digits 5-9 as the benchmark runner does, with the configs named in
configs/suites/demo_seg.py. Writes records, a table and pictures of image, ground
truth and predictions side by side.
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
        from mmvpt.bench.demo import DATA, DIGIT_SCENES, run

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default=DIGIT_SCENES.out, help='where results go')
    parser.add_argument('--data-root', default=DATA, help='where images go')
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=list(DIGIT_SCENES.seeds)
    )
    parser.add_argument('--workers', type=int, default=min(2, os.cpu_count() or 1))
    run(DIGIT_SCENES, **vars(parser.parse_args(argv)))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
