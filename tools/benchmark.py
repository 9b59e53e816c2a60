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
    from mmvpt.command_line import SEARCH, declared, parser_of, table

    benchmark = declared('mmvpt.bench.benchmark:benchmark')
    parser = parser_of(
        __doc__,
        benchmark,
        declared('mmvpt.bench.settings:Settings'),
        **{**SEARCH, 'study': None},
        method=dict(placed=False, required=True),
        protocol=dict(choices=list(table('bench/protocols.yml'))),
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
