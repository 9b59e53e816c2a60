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
    from mmvpt.bench.console import quiet

    with quiet():  # libraries print when they are imported
        from mmvpt.bench.demo import DIGIT_SCENES, run
        from mmvpt.bench.settings import WORKERS
        from mmvpt.command_line import parser_of

    defaults = dict(out=DIGIT_SCENES.out, seeds=DIGIT_SCENES.seeds, workers=WORKERS)
    changes = {name: dict(default=value) for name, value in defaults.items()}
    run(
        DIGIT_SCENES,
        **vars(parser_of(__doc__, run, demo=None, **changes).parse_args(argv)),
    )


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
