#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Plot what ``speed.py`` measured against the number of prompts and of patches.

Reads JSON files; points of one figure come from all of them together. Writes
FOLDER/prompts.png, and FOLDER/patches.png if there are several image sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Draw, and return the files that were written."""
    from mmvpt.command_line import declared, listed, run

    function = declared('mmvpt.bench.speed.plot:plot')
    values = listed('mmvpt.bench.speed.plot:LABELS')
    return run(
        function,
        __doc__,
        argv,
        files=dict(nargs='+', metavar='JSON'),
        value=dict(choices=values),
    )


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
