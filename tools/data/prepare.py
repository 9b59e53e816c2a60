#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prepare a data set from archives, folders or a dump; docs/data.md has the sources."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and prepare."""
    from mmvpt.datasets.prepare import TASKS, find_task, prepare
    from mmvpt.errors import UserError

    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f'Tasks: {", ".join(TASKS)}.'
    )
    parser.add_argument('task', help='what to prepare, see below')
    parser.add_argument('--source', help='a folder or an archive; only read')
    parser.add_argument('--out', default='data', help='folder of all data [data]')
    parser.add_argument(
        '--splits',
        help="VPT's folder of train.json, val.json, test.json (FGVC), its "
        "vtab_trainval_splits.json (VTAB-1k), or TFDS's lists (sun397)",
    )
    parser.add_argument(
        '--allow-counts',
        action='store_true',
        help='accept splits of another size than the published ones',
    )
    parser.add_argument(
        '--allow-duplicates',
        action='store_true',
        help='accept equal images in different splits, and record them',
    )
    parser.add_argument('--quiet', action='store_true', help='print no progress')
    args = parser.parse_args(argv)
    task = find_task(args.task)
    if args.source is None:
        parser.error(f'{task.name} needs --source: {task.wants}. From {task.homepage}')
    try:
        folder, origin = prepare(
            task,
            args.source,
            args.out,
            args.splits,
            allow_counts=args.allow_counts,
            allow_duplicates=args.allow_duplicates,
            quiet=args.quiet,
        )
    except UserError:
        raise
    except OSError as error:
        raise UserError(f'{error}; the same command goes on from here') from error
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt('the same command goes on from here') from interrupt
    counts = ', '.join(f'{split} {n}' for split, n in origin['counts'].items())
    print(f'{folder}: {counts}')
    print(f'split: {origin["split"]}')
    print(f'terms of use: {task.terms} See {task.homepage}')


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
