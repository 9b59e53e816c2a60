#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look which layers' prompts a tuned Gated Prompt Tuning model selects.

Writes gates, weights, selection ratio (figure 4 of the paper, for one model) and
temperatures of each layer to OUT.npz, then OUT.png:

    python tools/analysis/gates.py work_dirs/gated/epoch_100.pth --out gates
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
    parser.add_argument(
        'checkpoint', help='a tuned model, file or URL, or a work dir (the last one)'
    )
    command.add_out(parser, 'gates')
    reports.gates(**vars(parser.parse_args(argv)))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
