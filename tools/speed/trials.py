#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Trials per hour of a search, against a process for each training."""

from __future__ import annotations


def main() -> None:
    """Run it with the arguments of the process."""
    from mmvpt.command_line import declared, run

    run(declared('mmvpt.bench.speed.trials:compare_trials'), __doc__)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
