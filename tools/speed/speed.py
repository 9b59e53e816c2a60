#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Operations, times and memory of prompt methods, each against its rivals."""

from __future__ import annotations


def main() -> None:
    """Run it with the arguments of the process."""
    from mmvpt.bench.speed.speed import main

    main()


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
