#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Export scikit-learn's handwritten digits for the demo, in VTAB-1k layout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / 'mmvpt' / '__init__.py').is_file():  # a checkout needs no installation
    sys.path.insert(0, str(ROOT))

from mmvpt.datasets import export_digits  # noqa: E402


def main() -> None:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data-root', default='data', help='where the folders are put')
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0], help='draws of the target task'
    )
    parser.add_argument('--train-per-class', type=int, default=40)
    parser.add_argument('--val-per-class', type=int, default=15)
    args = parser.parse_args()
    try:
        folders = export_digits(
            args.data_root, args.seeds, args.train_per_class, args.val_per_class
        )
    except (FileExistsError, ImportError, ValueError) as error:
        sys.exit(f'error: {error}')
    for folder in folders:
        print(folder)


if __name__ == '__main__':
    main()
