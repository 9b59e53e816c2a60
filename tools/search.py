#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Search hyper-parameters on the validation split.

Trials lie in a database, by default a file. The same command, on this or another
machine, joins the search; run again after an interruption, it continues it. The best
settings are written as a config, the search as a record. Test data is not read.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> dict | None:
    """Search.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The record of the search, None after --preview.
    """
    from mmvpt.bench.console import quiet

    with quiet():  # libraries print when they are imported
        from mmvpt.bench import PROTOCOLS
        from mmvpt.bench.search import search
        from mmvpt.bench.settings import add_search_arguments
        from mmvpt.engine.config_file import OptionAction

    parser = argparse.ArgumentParser('search.py', description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--space', help='what varies, e.g. configs/search/vpt_grid.py')
    add_search_arguments(parser, 'grid')
    parser.add_argument(
        '--protocol',
        default='vpt',
        choices=[p.name for p in PROTOCOLS.values() if p.searches],
        help='which images train and which choose [vpt]',
    )
    parser.add_argument('--metric', help='what is maximised [by the evaluator]')
    parser.add_argument('--study', help='name of the search in the storage')
    parser.add_argument('--out', help='folder [work_dirs/search/<config>]')
    parser.add_argument(
        '--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE'
    )
    args = parser.parse_args(argv)
    if args.strategy != 'fixed' and not args.space:
        parser.error(
            '--space is needed, unless --strategy fixed tries the config alone'
        )
    return search(**vars(args))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
