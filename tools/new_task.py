#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Split your own images and write a config for them; docs/own_data.md tells more.

DATA is a folder with one folder of images for each class, a CSV file with an image and
its class on each line, or a folder with images and masks. Nothing in it is changed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> Path:
    """Write lists and config, print what comes next, and return the config's path."""
    from mmvpt.command_line import declared, listed, parser_of
    from mmvpt.zoo.shipped import TASKS, available

    options = declared('mmvpt.zoo.new_task:Options')
    new_task = declared('mmvpt.zoo.new_task:new_task')
    parser = parser_of(
        __doc__,
        options,
        group_below=dict(metavar='N'),
        head=dict(choices=listed('mmvpt.zoo.cells:HEADS')),
        masks_drawn=dict(choices=listed('mmvpt.datasets.own.masks:DRAWN')),
    )
    lines = []
    for kind in TASKS:
        lines.append(f'methods for {kind}, and their backbones, the first the default:')
        lines += [f'  {m}: {", ".join(b)}' for m, b in available(kind).items()]
    parser.epilog = '\n'.join(lines)
    argv = sys.argv[1:] if argv is None else argv
    task = new_task(options(**vars(parser.parse_args(argv))), argv)
    print(task.report)
    return task.path


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
