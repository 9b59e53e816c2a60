#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Write a tuned model as one graph: ONNX, or a program of torch.export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> dict:
    """Export, and return what was noted in the file."""
    from mmvpt.command_line import declared, listed, parser_of

    load, export = (
        declared('mmvpt.apis.load:load'),
        declared('mmvpt.apis.export:export'),
    )
    parser = parser_of(
        __doc__,
        load,
        export,
        path_or_config=dict(
            metavar='model', help='release, checkpoint of training, or config'
        ),
        device=None,
        task=None,
        path=dict(placed=False, flags=('--out',), required=True),
        format=dict(choices=listed('mmvpt.apis.export:FORMATS')),
        size=dict(nargs=2, metavar=('HEIGHT', 'WIDTH')),
        dtype=dict(choices=listed('mmvpt.apis.export:DTYPES')),
    )
    args = vars(parser.parse_args(argv))
    task = load(args.pop('path_or_config'), args.pop('weights'), device='cpu')
    facts = export(task, **args)
    shape, out = ', '.join(map(str, facts['input']['shape'])), args['path']
    print(f'{out} ({Path(out).stat().st_size:,} bytes), images ({shape})')
    print(f'weights {facts["weights"]}, logits: {facts["output"]["scores"]}')
    if 'largest_difference' in facts:
        from mmvpt.apis.export import CHECKED_BATCHES

        print(
            f'logits differ from PyTorch by {facts["largest_difference"]:.1e} at most '
            f'(batches of {", ".join(map(str, CHECKED_BATCHES))})'
        )
    return facts


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
