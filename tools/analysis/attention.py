#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look where CLS and prompts attend to in the image.

Writes the attention weights of all layers to OUT.npz; then OUT.png, one layer over the
images (figure 3 of DA-VPT), and OUT_layers.png, how CLS divides its attention:

    python tools/analysis/attention.py work_dirs/davpt --num 4 --out attention
    python tools/analysis/attention.py CONFIG CHECKPOINT --images a.jpg b.jpg --layer -1
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    from mmvpt.command_line import LOOK, declared, run

    attention = declared('mmvpt.analysis.reports:attention')
    load_look = declared('mmvpt.analysis.command:load_look')
    run(attention, __doc__, argv, also=(load_look,), **LOOK)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
