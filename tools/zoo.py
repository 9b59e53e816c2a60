#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Write the configs of every method and task from their tables, and what lists them.

With --backbone the config of one cell: any method, backbone, head and data.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line asks for."""
    from mmvpt.command_line import declared, listed, run

    names = {
        name: ', '.join(listed(f'mmvpt.zoo.{table}'))
        for name, table in (
            ('backbone', 'backbones:NAMED'),
            ('method', 'cells:METHODS'),
            ('data', 'cells:DATA'),
        )
    }
    run(
        declared('mmvpt.zoo.command:zoo'),
        __doc__,
        argv,
        backbone=dict(
            help=f'print the config of a cell: {names["backbone"]}, or as '
            'tools/new_task.py takes it'
        ),
        method=dict(help=names['method']),
        data=dict(help=f'{names["data"]}, cub, vtab-dtd, ...'),
        head=dict(choices=listed('mmvpt.zoo.cells:HEADS')),
    )


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
