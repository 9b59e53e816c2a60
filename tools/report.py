#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Make tables and plots from records."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmvpt.bench.programs import run_program  # noqa: E402
from mmvpt.bench.quiet import find_function  # noqa: E402


def main(argv: Sequence[str] | None = None) -> object:
    """Run the command.

    Args:
        argv: Arguments; those of the process by default.
    """
    # Not at the top: worker processes import this file, and need nothing of it.
    return find_function('mmvpt.bench.report:main')(argv)


if __name__ == '__main__':
    run_program(main)
