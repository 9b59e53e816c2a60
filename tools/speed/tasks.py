#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Many tasks served from one backbone: memory and time."""

from __future__ import annotations


def main() -> None:
    """Run it with the arguments of the process."""
    from mmvpt.bench.speed.tasks import serve
    from mmvpt.command_line import run

    run(serve, __doc__)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
