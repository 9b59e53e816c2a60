#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look how alike the prompts of all layers are.

Writes cosines between all prompts to OUT.npz, then OUT.png. Prompts that depend on the
image (VAPT, Gated Prompt Tuning) are read from some images:

    python tools/analysis/similarity.py work_dirs/vpt-deep --out similarity
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
    command.add_run(parser)
    command.add_images(parser, 8)
    command.add_out(parser, 'similarity')
    reports.similarity(**vars(parser.parse_args(argv)))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
