#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Make tables (Markdown, CSV, LaTeX) and plots from records.

One table for each suite and protocol: figures of different protocols do not stand in
one table. Files that are no valid records are named and left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> Path:
    """Write the report.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The folder.
    """
    from mmvpt.bench.console import quiet

    with quiet():  # libraries print when they are imported
        from mmvpt.bench.report import report

    parser = argparse.ArgumentParser('report.py', description=__doc__)
    parser.add_argument(
        'records', nargs='+', help='record files, or folders of a benchmark or search'
    )
    parser.add_argument('--out', help='folder [report/ in the first folder]')
    parser.add_argument(
        '--against',
        nargs='+',
        default=(),
        metavar='METHOD',
        help='compare all methods with these, seed by seed',
    )
    parser.add_argument('--no-plots', action='store_true', help='tables alone')
    args = parser.parse_args(argv)
    return report(args.records, args.out, not args.no_plots, args.against)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
