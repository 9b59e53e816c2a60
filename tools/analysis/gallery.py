#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Make docs/gallery.md and its pictures from the runs of `make demo`.

Every picture comes from the command that stands below it on the page:

    make demo && python tools/analysis/gallery.py
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    from mmvpt.command_line import declared, run

    run(declared('mmvpt.analysis.gallery:write_gallery'), __doc__, argv)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
