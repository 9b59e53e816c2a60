#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look which prompt every class of DA-VPT had after each update, and the drift.

Reads the history that SemanticMappingHook wrote, or with --checkpoints the maps in the
checkpoints of the run. Writes arrays to OUT.npz, then OUT.png:

    python tools/analysis/class_map.py work_dirs/davpt --out class_map
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    from mmvpt.analysis import command, reports

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', help='work dir of a run')
    parser.add_argument(
        '--checkpoints',
        action='store_true',
        help='read the checkpoints instead of the history',
    )
    command.add_out(parser, 'class_map')
    reports.class_map(**vars(parser.parse_args(argv)))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
