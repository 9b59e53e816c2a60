#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Write the file of a tuned model that others get.

It holds the tuned weights, the config as data, class names, normalisation and the
fingerprint of the frozen weights; no optimizer, no logs, no frozen weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> Path:
    """Publish.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The file.
    """
    from mmvpt.apis import publish
    from mmvpt.checkpoint.tuned import read_tuned

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='checkpoint of training')
    parser.add_argument(
        'out', help='folder, or name without ending; a part of the hash is added'
    )
    parser.add_argument(
        '--config', help='its config, if the checkpoint was not written by mmvpt'
    )
    args = parser.parse_args(argv)
    path = publish(args.checkpoint, args.out, args.config)
    tuned = read_tuned(path)
    print(f'{path} ({path.stat().st_size:,} bytes, {len(tuned.state)} tensors)')
    for mark in tuned.frozen.values():
        print(f'tuned on {mark}')
    return path


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
