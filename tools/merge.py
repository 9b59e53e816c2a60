#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Put tuned and frozen weights into one checkpoint that mmpretrain and mmseg load."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if (ROOT / 'mmvpt' / '__init__.py').is_file():  # a checkout needs no installation
    sys.path.insert(0, str(ROOT))

from mmvpt.apis import merge, write_config  # noqa: E402
from mmvpt.engine import run as launch  # noqa: E402


def main(argv: Sequence[str] | None = None) -> Path:
    """Merge.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The full checkpoint.
    """
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
    launch.run_tool(main)
