#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look at prompts, class means, images and patches of a layer in the plane.

Writes the points and their places (t-SNE, UMAP or PCA) to OUT.npz, then OUT.png:

    python tools/analysis/embedding.py work_dirs/davpt --num 100 --out embedding
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    from mmvpt.command_line import LOOK, declared, listed, run

    embedding = declared('mmvpt.analysis.reports:embedding')
    load_look = declared('mmvpt.analysis.command:load_look')
    choices = dict(
        space=dict(choices=listed('mmvpt.analysis.embedding:SPACES')),
        method=dict(choices=listed('mmvpt.analysis.embedding:METHODS')),
    )
    run(embedding, __doc__, argv, also=(load_look,), **LOOK, **choices)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
