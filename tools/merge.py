#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Put tuned and frozen weights into one checkpoint that mmpretrain and mmseg load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> Path:
    """Merge, and return the full checkpoint."""
    from mmvpt.command_line import declared, parser_of

    merge = declared('mmvpt.apis.release:merge')
    write_config = declared('mmvpt.apis.release:write_config')
    also = dict(help='also write its config to this file')
    args = vars(parser_of(__doc__, merge, write_config=also).parse_args(argv))
    out = args.pop('write_config')
    path = merge(**args)
    print(f'{path} ({path.stat().st_size:,} bytes)')
    if out:
        write_config(path, out)
        print(out)
    return path


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
