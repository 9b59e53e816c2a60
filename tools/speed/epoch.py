#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure what an epoch takes beside the steps of its model.

Trains a config. An epoch is all of it but validation: loader, preprocessor, steps,
hooks, log, checkpoint, loop; a step is forward, backward and optimizer. On the CPU
without workers seconds of the processor are measured, else those of the wall clock; a
GPU is waited for after each step. Prints the ratio.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> list[float]:
    """Measure, and return the ratio of every epoch."""
    from mmvpt.command_line import declared, run

    return run(declared('mmvpt.bench.speed.epoch:measure_epochs'), __doc__, argv)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
