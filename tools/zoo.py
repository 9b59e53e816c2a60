#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Write the configs of every method and task from their tables, and what lists them.

With --backbone the config of one cell: any method, backbone, head and data.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line asks for."""
    from mmvpt.command_line import listed
    from mmvpt.display import quiet
    from mmvpt.errors import UserError
    from mmvpt.files import ROOT

    named = ', '.join(listed('mmvpt.zoo.backbones:NAMED'))
    known = ', '.join(listed('mmvpt.zoo.cells:METHODS'))
    data = ', '.join(listed('mmvpt.zoo.cells:DATA'))
    parser = argparse.ArgumentParser(description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument(
        '--write', action='store_true', help='write what is not current'
    )
    action.add_argument(
        '--check', action='store_true', help='fail if a file is not current'
    )
    action.add_argument(
        '--count', action='store_true', help='print how many configs there are'
    )
    action.add_argument(
        '--backbone',
        help=f'print the config of a cell: {named}, or as tools/new_task.py takes it',
    )
    add = parser.add_argument_group('of the cell').add_argument
    add('--method', default='davpt-plus', help=known)
    add('--data', default='ade20k', help=f'{data}, cub, vtab-dtd, ...')
    add(
        '--head',
        choices=listed('mmvpt.zoo.cells:HEADS'),
        help='for segmentation [upernet]',
    )
    add('--out', type=Path, help='write it to this file')
    args = parser.parse_args(argv)

    with quiet():  # libraries print when they are imported
        from mmvpt.zoo import cells, listing, methods, writing

    if args.backbone:
        text = cells.text(args.method, args.backbone, args.data, args.head, args.out)
        if args.out is None:
            print(text, end='')
        else:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(text, encoding='utf-8')
    elif args.count:
        print('\n'.join(listing.counts(ROOT, methods.PAPERS.values())))
    elif args.write:
        print(*(f'wrote {name}' for name in writing.write()), sep='\n')
    elif changed := list(writing.outdated()):
        print(*(f'not current: {name}' for name in changed), sep='\n')
        raise UserError('run `python tools/zoo.py --write`')


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
