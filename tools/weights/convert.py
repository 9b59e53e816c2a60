#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Convert a published Vision Transformer for mmvpt.

Every key of the file is accounted for; whatever is missing, unexpected or of another
shape ends the conversion, and nothing is written.

    python tools/weights/convert.py ViT-B_16.npz checkpoints/vit-base-p16_in21k.pth \
        --to mmvpt

SOURCE is a file (npz, pth, safetensors) or timm:NAME. DEST ends with .pth or
.safetensors; named as a known checkpoint, it must be it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / 'mmvpt' / '__init__.py').is_file():  # a checkout needs no installation
    sys.path.insert(0, str(ROOT))

from mmvpt.checkpoint import CheckpointError  # noqa: E402
from mmvpt.weights import (  # noqa: E402
    ARCHITECTURES,
    FORMATS,
    KNOWN_CHECKPOINTS,
    NORMALIZATIONS,
    convert_file,
)


def list_known() -> str:
    """Return a table of the known checkpoints."""
    lines = [
        f'{k.name:33s} {k.formats[0]:11s} {k.licence:13s} {k.url or k.source}'
        for k in KNOWN_CHECKPOINTS.values()
    ]
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and convert."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', nargs='?', help='file, or timm:NAME')
    parser.add_argument('dest', nargs='?', help='file to write')
    parser.add_argument('--to', choices=['mmvpt'], default='mmvpt')
    parser.add_argument('--format', choices=list(FORMATS), help='of the source')
    parser.add_argument('--name', help='known checkpoint that the source must be')
    parser.add_argument('--arch', choices=list(ARCHITECTURES), help='to be expected')
    parser.add_argument('--num-heads', type=int, help='of an unusual ViT')
    parser.add_argument('--activation', choices=['gelu', 'quick_gelu'], help='of CLIP')
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
    try:
        converted = convert_file(
            args.source,
            args.dest,
            overwrite=args.overwrite,
            format=args.format,
            name=args.name,
            arch=args.arch,
            num_heads=args.num_heads,
            activation=args.activation,
            normalization=args.normalization,
        )
    except CheckpointError as error:
        sys.exit(f'error: {error}')
    print(converted.report())
    print(f'written        {args.dest}')


if __name__ == '__main__':
    main()
