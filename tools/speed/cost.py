#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Operations and bytes of a step on paper, and of many tasks on one backbone."""

from __future__ import annotations


def main() -> None:
    """Run it with the arguments of the process."""
    from mmvpt.command_line import declared, run

    run(declared('mmvpt.bench.speed.cost:show'), __doc__)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
