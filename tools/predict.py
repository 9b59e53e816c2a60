#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Predict classes or masks of images with a tuned model.

Writes predictions.csv and predictions.json to --out, and pictures with --pictures
(masks of a segmentation always). Images that cannot be read are named on the standard
error stream and in the JSON; the exit status is then 0 unless --strict is given or no
image could be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', help='release, checkpoint of training, or a config')
    parser.add_argument('images', nargs='+', help='image files and folders')
    parser.add_argument('--out', required=True, help='folder for the results')
    parser.add_argument(
        '--weights',
        help='frozen weights of the backbone (mmvpt://NAME, timm://NAME or a file) '
        '[as the config in the checkpoint]; with a config its checkpoint',
    )
    parser.add_argument(
        '--device', help='cpu, cuda, cuda:1 ... [a GPU if there is one]'
    )
    parser.add_argument(
        '--batch-size', type=int, help='images in a batch [as in tools/test.py]'
    )
    parser.add_argument(
        '--pictures', action='store_true', help='draw the class on each image'
    )
    parser.add_argument(
        '--strict', action='store_true', help='exit with 1 if any image is unreadable'
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Predict.

    Args:
        argv: Arguments; those of the process by default.
    """
    from mmvpt.apis import load, predict_to_folder

    args = parse_args(argv)
    model = load(args.model, args.weights, args.device)
    summary = predict_to_folder(
        model, args.images, args.out, args.batch_size, args.pictures
    )
    for item in summary.unreadable:
        print(f'unreadable: {item.reason}', file=sys.stderr)
    read, lost = summary.predicted, len(summary.unreadable)
    print(f'{args.out}: {read} of {read + lost} images predicted')
    if not read or (lost and args.strict):
        sys.exit(1)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
