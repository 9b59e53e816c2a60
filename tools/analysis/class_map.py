#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look which prompt every class of DA-VPT had after each update, and the drift.

Reads the history that SemanticMappingHook wrote, or with --checkpoints the maps in the
checkpoints of the run. Writes arrays to OUT.npz, then OUT.png:

    python tools/analysis/class_map.py work_dirs/davpt --out class_map
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    from mmvpt.command_line import declared, run

    class_map = declared('mmvpt.analysis.reports:class_map')
    run(class_map, __doc__, argv)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
