#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Export scikit-learn's handwritten digits for the demo, in VTAB-1k layout."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Export.

    Args:
        argv: Arguments; those of the process by default.
    """
    from mmvpt.datasets import export_digits

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data-root', default='data', help='where the folders are put')
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0], help='draws of the target task'
    )
    parser.add_argument('--train-per-class', type=int, default=40)
    parser.add_argument('--val-per-class', type=int, default=15)
    args = parser.parse_args(argv)
    folders = export_digits(
        args.data_root, args.seeds, args.train_per_class, args.val_per_class
    )
    for folder in folders:
        print(folder)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
