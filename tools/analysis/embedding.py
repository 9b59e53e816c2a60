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
    from mmvpt.analysis.command import LOOK, load_look
    from mmvpt.analysis.embedding import METHODS, SPACES
    from mmvpt.analysis.reports import embedding
    from mmvpt.command_line import run

    choices = dict(space=dict(choices=SPACES), method=dict(choices=METHODS))
    run(embedding, __doc__, argv, also=(load_look,), **LOOK, **choices)


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
