#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Many tasks on one backbone, served or trained: memory and time."""

from __future__ import annotations


def main() -> None:
    """Run it with the arguments of the process."""
    from mmvpt.command_line import declared, run

    mode = dict(choices=('infer', 'train'))
    run(declared('mmvpt.bench.speed.tasks:measure_tasks'), __doc__, mode=mode)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
