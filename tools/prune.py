#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prune a trained KeyValuePrompt (E^2VPT) and train what is left, by every count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> Path | None:
    """Prune and retrain, and return the config of the best run, if there were runs."""
    from mmvpt.command_line import declared, run

    return run(
        declared('mmvpt.bench.pruning:prune'),
        __doc__,
        argv,
        work_dir=dict(placed=False, required=True),
        absolute=dict(
            flags=('--signed',),
            help='score with the sign of derivatives, as the released code',
        ),
    )


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
