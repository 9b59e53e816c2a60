#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Make tables (Markdown, CSV, LaTeX) and plots from records.

One table for each suite and protocol: figures of different protocols do not stand in
one table. Files that are no valid records are named and left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> Path:
    """Write the report, and return its folder."""
    from mmvpt.command_line import declared, run

    return run(
        declared('mmvpt.bench.report:report'),
        __doc__,
        argv,
        paths=dict(metavar='records'),
        with_plots=dict(flags=('--no-plots',), help='tables alone'),
        against=dict(metavar='METHOD'),
    )


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
