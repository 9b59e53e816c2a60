#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Write the configs of every method and task from their tables, and what lists them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line asks for.

    Args:
        argv: Arguments; those of the process by default.

    Raises:
        UserError: If a file is not current.
    """
    from mmvpt.errors import UserError
    from mmvpt.files import ROOT
    from mmvpt.zoo import listing, writing

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
    args = parser.parse_args(argv)
    if args.count:
        print('\n'.join(listing.counts(ROOT, writing.METHODS)))
    elif args.write:
        print(*(f'wrote {name}' for name in writing.write()), sep='\n')
    elif changed := list(writing.outdated()):
        print(*(f'not current: {name}' for name in changed), sep='\n')
        raise UserError('run `python tools/zoo.py --write`')


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
