#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Make docs/gallery.md and its pictures from the runs of `make demo`.

Every picture comes from the command that stands below it on the page:

    make demo && python tools/analysis/gallery.py
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    from mmvpt.analysis.gallery import DEMO, write_gallery

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--demo', default=DEMO, help=f'results of the demo [{DEMO}]')
    parser.add_argument(
        '--page', default='docs/gallery.md', help='the page [docs/gallery.md]'
    )
    write_gallery(**vars(parser.parse_args(argv)))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
