#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look which layers' prompts a tuned Gated Prompt Tuning model selects.

Writes gates, weights, selection ratio (figure 4 of the paper, for one model) and
temperatures of each layer to OUT.npz, then OUT.png:

    python tools/analysis/gates.py work_dirs/gated/epoch_100.pth --out gates
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    from mmvpt.command_line import declared, run

    gates = declared('mmvpt.analysis.reports:gates')
    run(gates, __doc__, argv)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
