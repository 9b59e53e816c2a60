#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Search, train and test methods on the tasks of a suite, with a record for each run.

What is done is kept and what failed is tried again: the command can be repeated. At
its end it makes tables and plots of all records, as tools/report.py does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a benchmark.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The number of records.
    """
    from mmvpt.bench.console import quiet

    with quiet():  # libraries print when they are imported
        from mmvpt.bench import PROTOCOLS
        from mmvpt.bench.benchmark import benchmark
        from mmvpt.bench.settings import add_search_arguments

    parser = argparse.ArgumentParser('benchmark.py', description=__doc__)
    add = parser.add_argument
    add(
        'suite',
        help='fgvc, vtab, vtab-natural, vtab-specialized, vtab-structured, ade20k, '
        'pascal-context, a file of configs/suites by its name, or the path of an own '
        'one',
    )
    add('--method', nargs='+', required=True, help="names, or 'all'")
    add('--backbone', help='such as vit-b_in21k')
    add('--tasks', nargs='+', help='only these')
    add('--protocol', choices=list(PROTOCOLS), help="[the suite's]")
    add('--seeds', nargs='+', type=int, help="[the protocol's]")
    add('--search', action='store_true', help='search settings of each cell first')
    add('--space', help='space file for all methods [each its own]')
    add_search_arguments(parser, 'tpe')
    add('--no-preview', action='store_true', help='start without estimating the cost')
    add(
        '--predictions',
        action='store_true',
        help='keep the test predictions of the first seed: predictions.pkl, or label '
        'maps in predictions/, in the folder of the run',
    )
    add('--out', help='folder [work_dirs/benchmark/<suite>]')
    args = vars(parser.parse_args(argv))
    preview = 'only' if args.pop('preview') else not args['no_preview']
    del args['no_preview']
    return benchmark(**args, preview=preview)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
