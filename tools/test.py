#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Test a checkpoint with a config of mmpretrain's or mmsegmentation's scope."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Test, and return the metrics."""
    from mmvpt.command_line import DISTRIBUTED, declared, run
    from mmvpt.engine.early_checks import RUNNER

    test = declared('mmvpt.engine.run:test')
    options = dict(
        also=(declared('mmvpt.engine.run_config:testing_config'),),
        checked=RUNNER,
        out_item=dict(choices=['metrics', 'pred']),
    )
    return run(test, __doc__, argv, **options, **DISTRIBUTED)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
