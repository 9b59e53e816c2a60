#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prepare a data set from archives, folders or a dump; docs/data.md has the sources."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare."""
    from mmvpt.command_line import declared, parser_of, table
    from mmvpt.errors import UserError

    prepare = declared('mmvpt.datasets.prepare.run:prepare')
    find_task = declared('mmvpt.datasets.prepare.tasks:find_task')
    parser = parser_of(
        __doc__, prepare, source=dict(placed=False), task=dict(help='see below')
    )
    parser.epilog = f'Tasks: {", ".join(table("datasets/prepare/tasks.yml"))}.'
    args = vars(parser.parse_args(argv))
    task = args['task'] = find_task(args['task'])
    if args['source'] is None:
        parser.error(f'{task.name} needs --source: {task.wants}. From {task.homepage}')
    try:
        folder, origin = prepare(**args)
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
