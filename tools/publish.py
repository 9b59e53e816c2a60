#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Write the file of a tuned model that others get.

It holds the tuned weights, the config as data, class names, normalisation and the
fingerprint of the frozen weights; no optimizer, no logs, no frozen weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> Path:
    """Publish, and return the file."""
    from mmvpt.command_line import declared, run

    path = run(declared('mmvpt.apis.release:publish'), __doc__, argv)
    from mmvpt.checkpoint.tuned import read_tuned

    tuned = read_tuned(path)
    print(f'{path} ({path.stat().st_size:,} bytes, {len(tuned.state)} tensors)')
    for mark in tuned.frozen.values():
        print(f'tuned on {mark}')
    return path


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
