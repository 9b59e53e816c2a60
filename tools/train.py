#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Train a config of mmpretrain's or mmsegmentation's scope."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


def main(argv: Sequence[str] | None = None) -> Any:
    """Train.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The runner after training.
    """
    from mmvpt.engine.run import add_common_arguments, train

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints [work_dirs/<config name>]'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='PATH',
        help='continue from this checkpoint; without PATH from the last one in the '
        'work dir, or from the start if there is none',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='start afresh, deleting the checkpoints of an earlier run in the work dir',
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision (bfloat16 on the CPU)'
    )
    parser.add_argument(
        '--no-validate',
        dest='validate',
        action='store_false',
        help='no validation during training',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by batch size / auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--no-persistent-workers',
        dest='persistent_workers',
        action='store_false',
        help='start the data-loading workers anew in every epoch',
    )
    add_common_arguments(parser)
    args = parser.parse_args(argv)
    if args.overwrite and args.resume:
        parser.error('--overwrite deletes what --resume continues; give one of them')
    return train(**vars(args))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
