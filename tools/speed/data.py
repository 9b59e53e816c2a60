#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure what data costs beside a training step: decoding, resizing, normalising.

Writes JPEG images to a temporary folder and reads them as VTAB-1k's configs do, with
and without decoded images in memory. Without workers nothing is hidden, for everything
happens in this process: on the CPU seconds of the processor are measured. With workers,
or on a GPU, it is what a training step waits for its batch, by the wall clock. Writes
OUT.json.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> dict:
    """Measure, and return what is in the file."""
    from mmvpt.command_line import SPEED_OF_ONE, declared, run

    return run(
        declared('mmvpt.bench.speed.data:measure_data'),
        __doc__,
        argv,
        also=[declared('mmvpt.bench.speed.subjects:Setting')],
        **SPEED_OF_ONE,
        image_size=None,
    )


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
