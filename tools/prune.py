#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prune a trained KeyValuePrompt (E^2VPT) and train what is left, by every count."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> Path | None:
    """Prune and retrain.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The config of the best run, if there were runs.
    """
    from mmvpt.bench.pruning import prune
    from mmvpt.engine.config_file import OptionAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config that the checkpoint was trained with')
    parser.add_argument('checkpoint', help='checkpoint with trained masks')
    parser.add_argument('--work-dir', required=True, help='folder for all runs')
    parser.add_argument(
        '--signed',
        dest='absolute',
        action='store_false',
        help='score with the sign of derivatives, as the released code',
    )
    parser.add_argument('--min-tokens', type=int, default=1, help='kept at least [1]')
    parser.add_argument(
        '--min-segments', type=int, default=4, help='kept of each token at least [4]'
    )
    parser.add_argument(
        '--metric', default='accuracy/top1', help='of validation [accuracy/top1]'
    )
    parser.add_argument(
        '--no-retrain',
        dest='retrain',
        action='store_false',
        help='score and write the configs of the runs, train none',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE'
    )
    return prune(**vars(parser.parse_args(argv)))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
