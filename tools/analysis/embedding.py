#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look at prompts, class means, images and patches of a layer in the plane.

Writes the points and their places (t-SNE, UMAP or PCA) to OUT.npz, then OUT.png:

    python tools/analysis/embedding.py work_dirs/davpt --num 100 --out embedding
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / 'mmvpt' / '__init__.py').is_file():  # a checkout needs no installation
    sys.path.insert(0, str(ROOT))

from mmvpt import analysis  # noqa: E402
from mmvpt.analysis import command  # noqa: E402
from mmvpt.analysis.embedding import METHODS, SPACES  # noqa: E402
from mmvpt.engine.run import run_tool  # noqa: E402

BATCH = 32  # images read together


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_run(parser)
    command.add_images(parser, 100)
    command.add_out(parser, 'embedding')
    parser.add_argument(
        '--layer',
        type=int,
        help='from 0 or negative from the end [the last guided one, or the last]',
    )
    parser.add_argument(
        '--space', choices=SPACES, default='query', help='space of the points [query]'
    )
    parser.add_argument('--method', choices=METHODS, default='tsne', help='[tsne]')
    parser.add_argument('--max-patches', type=int, default=400, help='[400]')
    parser.add_argument('--seed', type=int, default=0, help='[0]')
    args = parser.parse_args(argv)
    if args.images:
        parser.error('class means need classes: give a split instead of --images')
    look = command.load_look(args)
    batches = []
    for part in look.parts:
        if part.classes is None:
            command.fail(f'the images of {args.split} have no labels for class means.')
        batches += zip(part.inputs.split(BATCH), part.classes.split(BATCH))
    arrays = analysis.layer_points(
        look.model,
        batches,
        args.layer,
        args.space,
        max_patches=args.max_patches,
        seed=args.seed,
    )
    arrays['places'] = analysis.place(arrays['vectors'], args.method, args.seed)
    path = command.save_arrays(args.out, arrays)

    from mmvpt.analysis import pictures

    figure = pictures.draw_embedding(
        arrays, arrays['places'], args.method, args.space, look.classes or None
    )
    pictures.save(figure, path)
    print(f'{len(arrays["vectors"])} points of layer {arrays["layer"]} in {path}')


if __name__ == '__main__':
    run_tool(main)
