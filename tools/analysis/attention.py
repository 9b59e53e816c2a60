#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look where CLS and prompts attend to in the image.

Writes the attention weights of all layers to OUT.npz; then OUT.png, one layer over the
images (figure 3 of DA-VPT), and OUT_layers.png, how CLS divides its attention:

    python tools/analysis/attention.py work_dirs/davpt --num 4 --out attention
    python tools/analysis/attention.py CONFIG CHECKPOINT --images a.jpg b.jpg --layer -1
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    from mmvpt.analysis import command, reports

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_run(parser)
    command.add_images(parser, 4)
    command.add_out(parser, 'attention')
    parser.add_argument(
        '--layer',
        type=int,
        help='layer of the picture, from 0 or negative from the end [the last guided '
        'one, or the last]',
    )
    parser.add_argument('--head', type=int, help='one head [mean of all]')
    parser.add_argument(
        '--max-prompts', type=int, default=5, help='prompts that get a map [5]'
    )
    reports.attention(**vars(parser.parse_args(argv)))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
