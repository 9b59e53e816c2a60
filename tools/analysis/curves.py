#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Compare the training curves of several runs.

Writes steps and values to OUT.npz, then OUT.png with one panel for each scalar:

    python tools/analysis/curves.py work_dirs/vpt work_dirs/davpt --out curves
    python tools/analysis/curves.py RUN --list
    python tools/analysis/curves.py RUN --keys loss lr accuracy/top1
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
    parser.add_argument('runs', nargs='+', help='work dirs')
    parser.add_argument('--names', nargs='+', help='names of the runs [their paths]')
    parser.add_argument(
        '--keys', nargs='+', help='scalars [loss and the first one of validation]'
    )
    parser.add_argument('--list', action='store_true', help='only list the scalars')
    parser.add_argument('--log', action='store_true', help='logarithmic axes')
    command.add_out(parser, 'curves')
    reports.curves(**vars(parser.parse_args(argv)))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
