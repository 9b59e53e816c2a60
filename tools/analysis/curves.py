#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Compare the training curves of several runs.

Writes steps and values to OUT.npz, then OUT.png with one panel for each scalar:

    python tools/analysis/curves.py work_dirs/vpt work_dirs/davpt --out curves
    python tools/analysis/curves.py RUN --list
    python tools/analysis/curves.py RUN --keys loss lr accuracy/top1
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    from mmvpt.command_line import declared, run

    curves = declared('mmvpt.analysis.reports:curves')
    run(curves, __doc__, argv)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
