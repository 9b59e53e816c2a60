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

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the demo."""
    from mmvpt.command_line import WORKERS, declared, parser_of
    from mmvpt.display import find_function

    run = declared('mmvpt.bench.demo:run')
    args = parser_of(__doc__, run, demo=None, workers=WORKERS).parse_args(argv)
    run(find_function('mmvpt.bench.demo:DIGIT_SCENES'), **vars(args))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
