#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Predict classes or masks of images with a tuned model.

Writes predictions.csv and predictions.json to --out, and pictures with --pictures
(masks of a segmentation always). Images that cannot be read are named on the standard
error stream and in the JSON; the exit status is then 0 unless --strict is given or no
image could be read.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Predict; exit with 1 if no image could be read, or with --strict not all."""
    from mmvpt.command_line import declared, parser_of

    load = declared('mmvpt.apis.load:load')
    predict_to_folder = declared('mmvpt.apis.folder:predict_to_folder')
    parser = parser_of(
        __doc__,
        load,
        predict_to_folder,
        path_or_config=dict(
            metavar='model', help='release, checkpoint of training, or config'
        ),
        model=None,
        out=dict(placed=False, required=True),
        strict=dict(action='store_true', help='exit with 1 if any is unreadable'),
    )
    args = parser.parse_args(argv)
    model = load(args.path_or_config, args.weights, args.device)
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
