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

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Convert, or list what is known."""
    from mmvpt.command_line import declared, listed, parser_of, table

    convert_file = declared('mmvpt.weights.convert:convert_file')
    parser = parser_of(
        __doc__,
        convert_file,
        declared('mmvpt.weights.convert:convert'),
        source=dict(nargs='?', help='file, folder, timm:NAME, hf://NAME'),
        dest=dict(nargs='?', help='file to write'),
        to=dict(choices=['mmvpt'], default='mmvpt'),
        format=dict(choices=list(table('weights/formats.yml'))),
        family=dict(choices=list(table('weights/families.yml'))),
        activation=dict(choices=listed('mmvpt.weights.architecture:ACTIVATIONS')),
        grid=dict(nargs=None, type=str, metavar='HEIGHTxWIDTH'),
        normalization=dict(
            choices=listed('mmvpt.weights.normalization:NORMALIZATIONS')
        ),
        pretrained=None,
        list=dict(action='store_true', help='list known checkpoints and end'),
    )
    args = vars(parser.parse_args(argv))
    if args.pop('list'):
        from mmvpt.weights import KNOWN_CHECKPOINTS

        for k in KNOWN_CHECKPOINTS.values():
            print(
                f'{k.name:33s} {k.formats[0]:11s} {k.licence:13s} {k.url or k.source}'
            )
        return
    if args['dest'] is None:
        parser.error('SOURCE and DEST are needed, or --list')
    del args['to']
    print(convert_file(**args).report())
    print(f'written        {args["dest"]}')


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
