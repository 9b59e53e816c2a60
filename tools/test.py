#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Test a checkpoint with a config of mmpretrain's or mmsegmentation's scope."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Test.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The metrics.
    """
    from mmvpt.engine.run import add_common_arguments, test

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('--work-dir', help='folder for logs [work_dirs/<config name>]')
    parser.add_argument(
        '--out',
        help='file for predictions (.pkl) or metrics (.json); with mmseg and '
        'predictions a folder for label maps',
    )
    parser.add_argument(
        '--out-item', choices=['metrics', 'pred'], help='what goes to --out [pred]'
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--show', action='store_true', help='show results in a window')
    parser.add_argument('--show-dir', help='folder for pictures of the results')
    parser.add_argument(
        '--interval', type=int, default=1, help='picture every n-th image'
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds per window with --show'
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: tta_model and tta_pipeline of the config, or a '
        'horizontal flip for classification',
    )
    add_common_arguments(parser)
    return test(**vars(parser.parse_args(argv)))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
