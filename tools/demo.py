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
    from mmvpt.bench.console import quiet

    with quiet():  # libraries print when they are imported
        from mmvpt.bench.demo import DIGITS, run
        from mmvpt.bench.settings import WORKERS
        from mmvpt.command_line import parser_of

    defaults = dict(out=DIGITS.out, seeds=DIGITS.seeds, workers=WORKERS)
    changes = {name: dict(default=value) for name, value in defaults.items()}
    run(DIGITS, **vars(parser_of(__doc__, run, demo=None, **changes).parse_args(argv)))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
