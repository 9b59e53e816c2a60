#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Check prepared data: lists, labels, counts, every image, equal images."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Check, and exit with 1 if anything is wrong."""
    from mmvpt.command_line import declared, parser_of, table
    from mmvpt.display import print_markdown

    check = declared('mmvpt.datasets.prepare.check:check')
    find_task = declared('mmvpt.datasets.prepare.tasks:find_task')
    known = table('datasets/prepare/tasks.yml')
    parser = parser_of(
        __doc__,
        check,
        task=None,
        tasks=dict(placed=True, nargs='*', help='what to check [all that are there]'),
        json=dict(action='store_true', help='print JSON, not a table'),
    )
    parser.epilog = f'Tasks: {", ".join(known)}.'
    args = parser.parse_args(argv)
    reports = []
    for name in args.tasks or known:
        task = find_task(name)
        print(f'checking {name} ...', file=sys.stderr)
        reports.append(check(task, args.out, allow_counts=args.allow_counts))
    if args.json:
        print(json.dumps([report.as_dict() for report in reports], indent=2))
    else:
        print_markdown(declared('mmvpt.datasets.prepare.check:table')(reports))
    passing = ('ok',) if args.tasks else ('ok', 'absent')
    sys.exit(any(report.verdict not in passing for report in reports))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
