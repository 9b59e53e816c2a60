#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Convert a published Vision Transformer for mmvpt.

Every key of the file is accounted for; whatever is missing, unexpected or of another
shape ends the conversion, and nothing is written.

    python tools/weights/convert.py ViT-B_16.npz checkpoints/vit-base-p16_in21k.pth \
        --to mmvpt

SOURCE is a file (npz, pth, safetensors), a folder as Hugging Face distributes it, the
index of shards, timm:NAME or hf://ORG/NAME. DEST ends with .pth or .safetensors; named
as a known checkpoint, it must be it. The line "backbone" has the arguments of the
backbone for these weights.
"""

from __future__ import annotations

import argparse


def list_known() -> str:
    """Return a table of the known checkpoints."""
    from mmvpt.weights import KNOWN_CHECKPOINTS

    lines = [
        f'{k.name:33s} {k.formats[0]:11s} {k.licence:13s} {k.url or k.source}'
        for k in KNOWN_CHECKPOINTS.values()
    ]
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and convert."""
    from mmvpt.weights import (
        ACTIVATIONS,
        ARCHITECTURES,
        FAMILIES,
        FORMATS,
        NORMALIZATIONS,
        convert_file,
    )

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', nargs='?', help='file, folder, timm:NAME, hf://NAME')
    parser.add_argument('dest', nargs='?', help='file to write')
    parser.add_argument('--to', choices=['mmvpt'], default='mmvpt')
    parser.add_argument('--format', choices=list(FORMATS), help='of the source')
    parser.add_argument('--name', help='known checkpoint that the source must be')
    parser.add_argument('--family', choices=list(FAMILIES), help='of the weights')
    parser.add_argument('--arch', choices=list(ARCHITECTURES), help='to be expected')
    parser.add_argument('--num-heads', type=int, help='of an unusual ViT')
    parser.add_argument(
        '--activation', choices=ACTIVATIONS, help='of CLIP, or of SigLIP from timm'
    )
    parser.add_argument(
        '--grid', help='of patches, HEIGHTxWIDTH, if positions are of no square'
    )
    parser.add_argument('--prefix', help='what stands before the names of the backbone')
    parser.add_argument('--key', help='of the file, if it has several sets of weights')
    parser.add_argument(
        '--normalization',
        choices=list(NORMALIZATIONS),
        help='of the images in pretraining, where name and format do not tell',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace DEST if it is there'
    )
    parser.add_argument(
        '--list', action='store_true', help='list known checkpoints and end'
    )
    args = parser.parse_args(argv)
    if args.list:
        print(list_known())
        return
    if args.dest is None:
        parser.error('SOURCE and DEST are needed, or --list')
    converted = convert_file(
        args.source,
        args.dest,
        overwrite=args.overwrite,
        format=args.format,
        family=args.family,
        name=args.name,
        arch=args.arch,
        num_heads=args.num_heads,
        activation=args.activation,
        grid=args.grid,
        prefix=args.prefix,
        key=args.key,
        normalization=args.normalization,
    )
    print(converted.report())
    print(f'written        {args.dest}')


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
