#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look how alike the prompts of all layers are.

Writes cosines between all prompts to OUT.npz, then OUT.png. Prompts that depend on the
image (VAPT, Gated Prompt Tuning) are read from some images:

    python tools/analysis/similarity.py work_dirs/vpt-deep --out similarity
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    from mmvpt.command_line import LOOK, declared, run

    similarity = declared('mmvpt.analysis.reports:similarity')
    load_look = declared('mmvpt.analysis.command:load_look')
    run(similarity, __doc__, argv, also=(load_look,), **LOOK)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
