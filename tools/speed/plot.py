#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Plot what ``speed.py`` measured against the number of prompts and of patches.

Reads JSON files; points of one figure come from all of them together. Writes
FOLDER/prompts.png, and FOLDER/patches.png if there are several image sizes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Parse the command line, run the benchmark and return what it measured."""
    from mmvpt.command_line import declared, listed

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('files', nargs='+', type=Path, metavar='JSON')
    parser.add_argument(
        '--value', default='operations', choices=listed('mmvpt.bench.speed.plot:LABELS')
    )
    parser.add_argument('--num-tokens', type=int, default=50, help='M of patches.png')
    parser.add_argument('--image-size', type=int, default=224, help='of prompts.png')
    parser.add_argument('--folder', type=Path, default='work_dirs/benchmark')
    return declared('mmvpt.bench.speed.plot:main')(parser.parse_args(argv))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
