#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look at prompts, class means, images and patches of a layer in the plane.

Writes the points and their places (t-SNE, UMAP or PCA) to OUT.npz, then OUT.png:

    python tools/analysis/embedding.py work_dirs/davpt --num 100 --out embedding
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
    from mmvpt.analysis.embedding import METHODS, SPACES

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_run(parser)
    command.add_images(parser, 100)
    command.add_out(parser, 'embedding')
    parser.add_argument(
        '--layer',
        type=int,
        help='from 0 or negative from the end [the last guided one, or the last]',
    )
    parser.add_argument(
        '--space', choices=SPACES, default='query', help='space of the points [query]'
    )
    parser.add_argument('--method', choices=METHODS, default='tsne', help='[tsne]')
    parser.add_argument('--max-patches', type=int, default=400, help='[400]')
    parser.add_argument('--seed', type=int, default=0, help='[0]')
    reports.embedding(**vars(parser.parse_args(argv)))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
