#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Search, train and test methods on the tasks of a suite, with a record for each run.

What is done is kept and what failed is tried again: the command can be repeated. At
its end it makes tables and plots of all records, as tools/report.py does.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a benchmark, and return the number of records."""
    from mmvpt.bench.console import quiet

    with quiet():  # libraries print when they are imported
        from mmvpt.bench import PROTOCOLS
        from mmvpt.bench.benchmark import benchmark
        from mmvpt.bench.settings import SEARCH, Settings
        from mmvpt.command_line import parser_of

    parser = parser_of(
        __doc__,
        benchmark,
        Settings,
        **{**SEARCH, 'study': None},
        method=dict(placed=False, required=True),
        protocol=dict(choices=list(PROTOCOLS)),
        preview=dict(
            default=False, action='store_true', help='estimate the cost and stop there'
        ),
        no_preview=dict(action='store_true', help='start without estimating the cost'),
    )
    args = vars(parser.parse_args(argv))
    preview = 'only' if args.pop('preview') else not args['no_preview']
    del args['no_preview']
    return benchmark(**args, preview=preview)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
