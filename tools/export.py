#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Write a tuned model as one graph: ONNX, or a program of torch.export."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> dict:
    """Export.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        What was noted in the file.
    """
    from mmvpt.apis import load
    from mmvpt.apis.export import CHECKED_BATCHES, DTYPES, FORMATS, export

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', help='release, checkpoint of training, or config')
    parser.add_argument(
        '--weights',
        help='frozen weights of a checkpoint, or the checkpoint of a config',
    )
    parser.add_argument('--format', choices=FORMATS, default='onnx')
    parser.add_argument('--out', required=True, help='file, .onnx or .pt2')
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='image size in pixels [that of training]',
    )
    parser.add_argument(
        '--any-size',
        action='store_true',
        help='height and width may be any multiples of the patch size',
    )
    parser.add_argument(
        '--dtype', choices=list(DTYPES), default='float32', help='of stored weights'
    )
    parser.add_argument('--opset', type=int, help="of ONNX [PyTorch's default]")
    parser.add_argument(
        '--no-check', action='store_true', help='do not run the file and compare it'
    )
    args = parser.parse_args(argv)
    task = load(args.model, weights=args.weights, device='cpu')
    facts = export(
        task,
        args.out,
        args.format,
        args.size,
        check=not args.no_check,
        dtype=args.dtype,
        opset=args.opset,
        any_size=args.any_size,
    )
    shape = ', '.join(map(str, facts['input']['shape']))
    print(f'{args.out} ({Path(args.out).stat().st_size:,} bytes), images ({shape})')
    print(f'weights {facts["weights"]}, logits: {facts["output"]["scores"]}')
    if 'largest_difference' in facts:
        print(
            f'logits differ from PyTorch by {facts["largest_difference"]:.1e} at most '
            f'(batches of {", ".join(map(str, CHECKED_BATCHES))})'
        )
    return facts


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
