# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What tools/zoo.py does."""

from __future__ import annotations

import os
from pathlib import Path

from mmvpt.errors import UserError
from mmvpt.files import ROOT

from . import cells, listing, methods, writing


def zoo(
    write: bool = False,
    check: bool = False,
    count: bool = False,
    backbone: str | None = None,
    method: str = 'davpt-plus',
    data: str = 'ade20k',
    head: str | None = None,
    out: str | os.PathLike | None = None,
) -> None:
    """Do one of four things with the configs, and print what was done.

    Args:
        write: Write what is not current.
        check: Fail if a file is not current.
        count: Print how many configs there are.
        backbone: Print the config of a cell with this backbone.
        method: Of the cell.
        data: Of the cell.
        head: Of the cell, for segmentation [upernet].
        out: Write the cell to this file.

    Raises:
        UserError: If a file is not current, there is no such cell, or it is not one
            thing that is to be done.
    """
    if [write, check, count, backbone is not None].count(True) != 1:
        raise UserError('give one of --write, --check, --count and --backbone.')
    if backbone is not None:
        path = None if out is None else Path(out)
        text = cells.text(method, backbone, data, head, path)
        if path is None:
            print(text, end='')
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding='utf-8')
    elif count:
        print('\n'.join(listing.counts(ROOT, list(methods.PAPERS.values()))))
    elif write:
        print(*(f'wrote {name}' for name in writing.write()), sep='\n')
    elif changed := list(writing.outdated()):
        print(*(f'not current: {name}' for name in changed), sep='\n')
        raise UserError('run `python tools/zoo.py --write`')
