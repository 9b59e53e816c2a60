#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Everything that a GPU is to say, as one page; only what is missing runs."""

from __future__ import annotations


def main() -> None:
    """Run it with the arguments of the process."""
    from mmvpt.command_line import declared, run

    run(declared('mmvpt.bench.speed.gpu:fill'), __doc__)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
