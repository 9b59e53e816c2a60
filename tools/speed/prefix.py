#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure epochs with and without the cache of the frozen first layers.

Prompts enter the last layers only. Epochs with and without the cache take turns; the
first one with it fills it. On the CPU seconds of the processor are measured, on a GPU
those of the wall clock. Writes OUT.json.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> dict:
    """Measure, and return what is in the file."""
    from mmvpt.command_line import SPEED_OF_ONE, declared, run

    return run(
        declared('mmvpt.bench.speed.prefix:compare_epochs'),
        __doc__,
        argv,
        also=[declared('mmvpt.bench.speed.subjects:Setting')],
        **SPEED_OF_ONE,
    )


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
