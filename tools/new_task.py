#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Split your own images and write a config for them; docs/own_data.md tells more.

DATA is a folder with one folder of images for each class, a CSV file with an image and
its class on each line, or a folder with images and masks. Nothing in it is changed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    from mmvpt.datasets.own import DRAWN
    from mmvpt.zoo.cells import HEADS
    from mmvpt.zoo.own import TASKS, available

    epilog = []
    for kind in TASKS:
        epilog.append(
            f'methods for {kind}, and their backbones, the first the default:'
        )
        epilog += [f'  {m}: {", ".join(b)}' for m, b in available(kind).items()]
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='\n'.join(epilog),
    )
    add = parser.add_argument
    add('data', help='folder or CSV file, only read')
    add('--name', help='of the task [that of DATA]')
    add('--method', help='[davpt-plus; with --multi-label vpt-deep]')
    add(
        '--backbone',
        help="one of the method's below, such as dinov3-b, a config, a file of "
        "weights, mmvpt://NAME, timm://NAME or an architecture [the method's first]",
    )
    add('--out', help='the config [configs/own/NAME.py]')
    add('--lists', help='folder for the lists [data/own/NAME]')
    add('--overwrite', action='store_true', help='replace an earlier config and lists')
    add = parser.add_argument_group('split').add_argument
    add('--val', type=float, default=0.15, help='share [0.15]')
    add('--test', type=float, default=0.15, help='share, or 0 [0.15]')
    add('--seed', type=int, default=0, help='another split [0]')
    add = parser.add_argument_group('classification').add_argument
    add(
        '--group-below',
        type=int,
        default=0,
        metavar='N',
        help='join classes with fewer than N images into one',
    )
    add('--group-name', default='other', help='its name [other]')
    add(
        '--skip-unreadable',
        action='store_true',
        help='leave out images that cannot be decoded',
    )
    add('--image-root', help="folder of a CSV file's paths [its own]")
    add('--image-column', help='of a CSV file [found by name]')
    add('--label-column', help='of a CSV file [found by name]')
    add(
        '--multi-label',
        action='store_true',
        help='of a CSV file: images have any number of classes',
    )
    add = parser.add_argument_group('segmentation').add_argument
    add('--head', choices=HEADS, help="instead of the one of the method's config")
    add('--masks', help='folder of the masks, if DATA is that of images')
    add('--mask-suffix', help="such as _mask.png, after an image's name [found]")
    add('--classes', help='file with a name on each line, line 1 for value 0 [numbers]')
    add(
        '--ignore-zero',
        action='store_true',
        help='value 0 does not count and 1 is the first class, as in ADE20K',
    )
    add(
        '--palette-masks',
        action='store_true',
        help='palette images are fine: their indices are the classes',
    )
    add(
        '--masks-drawn',
        choices=DRAWN,
        help='on images as shown, or as stored before EXIF turns them [by their sizes]',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> Path:
    """Write lists and config, print what comes next, and return the config's path.

    Args:
        argv: Arguments; those of the process by default.
    """
    from mmvpt.zoo.new_task import Options, new_task

    argv = sys.argv[1:] if argv is None else argv
    task = new_task(Options(**vars(parse_args(argv))), argv)
    print(task.report)
    return task.path


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
