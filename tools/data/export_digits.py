#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Export scikit-learn's handwritten digits for the demo, in VTAB-1k layout."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Export, and print the folders."""
    from mmvpt.command_line import declared, run

    export_digits = declared('mmvpt.datasets.digits:export_digits')
    print(*run(export_digits, __doc__, argv), sep='\n')


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
