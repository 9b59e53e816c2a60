#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Put tuned and frozen weights into one checkpoint that mmpretrain and mmseg load."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> Path:
    """Merge.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The full checkpoint.
    """
    from mmvpt.apis import merge, write_config

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='release or checkpoint of training')
    parser.add_argument('out', help='full checkpoint, .pth or .safetensors')
    parser.add_argument(
        '--weights', help='frozen weights: mmvpt://NAME, timm://NAME or a file'
    )
    parser.add_argument(
        '--config', help='its config, if the checkpoint was not written by mmvpt'
    )
    parser.add_argument('--write-config', help='also write its config to this file')
    args = parser.parse_args(argv)
    path = merge(args.checkpoint, args.out, args.weights, args.config)
    print(f'{path} ({path.stat().st_size:,} bytes)')
    if args.write_config:
        write_config(path, args.write_config)
        print(args.write_config)
    return path


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
