#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Tune a small frozen ViT on real handwritten digits, with every method, and compare.

Exports scikit-learn's digits, pretrains a ViT on digits 0-4 in four rotations, then
tunes it on upright digits 5-9 as the benchmark runner does, with the configs named in
configs/suites/demo.py. Writes records, a table and a picture.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the demo."""
    from mmvpt.command_line import WORKERS, declared, parser_of
    from mmvpt.display import find_function

    run = declared('mmvpt.bench.demo:run')
    args = parser_of(__doc__, run, demo=None, workers=WORKERS).parse_args(argv)
    run(find_function('mmvpt.bench.demo:DIGITS'), **vars(args))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
