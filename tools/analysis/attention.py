#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look where CLS and prompts attend to in the image.

Writes the attention weights of all layers to OUT.npz; then OUT.png, one layer over the
images (figure 3 of DA-VPT), and OUT_layers.png, how CLS divides its attention:

    python tools/analysis/attention.py work_dirs/davpt --num 4 --out attention
    python tools/analysis/attention.py CONFIG CHECKPOINT --images a.jpg b.jpg --layer -1
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / 'mmvpt' / '__init__.py').is_file():  # a checkout needs no installation
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from mmvpt import analysis  # noqa: E402
from mmvpt.analysis import command  # noqa: E402
from mmvpt.engine.run import run_tool  # noqa: E402


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_run(parser)
    command.add_images(parser, 4)
    command.add_out(parser, 'attention')
    parser.add_argument(
        '--layer',
        type=int,
        help='layer of the picture, from 0 or negative from the end [the last guided '
        'one, or the last]',
    )
    parser.add_argument('--head', type=int, help='one head [mean of all]')
    parser.add_argument(
        '--max-prompts', type=int, default=5, help='prompts that get a map [5]'
    )
    args = parser.parse_args(argv)
    look = command.load_look(args)
    shown = look.of_first_size()
    layer = analysis.resolve_layer(look.backbone, args.layer)
    maps = analysis.attention_maps(look.model, shown.inputs)
    positive = analysis.positive_prompts(look.backbone, layer, shown.classes)
    arrays = dict(
        analysis.attention_arrays(maps),
        images=shown.pictures,
        names=np.array(shown.names),
    )
    if shown.classes is not None:
        arrays['classes'] = shown.classes.cpu().numpy()
    if positive is not None:
        arrays[f'positive_{layer}'] = positive.cpu().numpy()
    if maps[0].cls is not None:
        arrays['shares'] = analysis.shares(maps)
    path = command.save_arrays(args.out, arrays)

    from mmvpt.analysis import pictures

    figure = pictures.draw_attention(
        shown.pictures,
        arrays.get(f'cls_{layer}'),
        arrays[f'prompts_{layer}'],
        maps[layer].num_extra,
        maps[layer].grid,
        layer=layer,
        head=args.head,
        positive=arrays.get(f'positive_{layer}'),
        titles=shown.names,
        max_prompts=args.max_prompts,
    )
    pictures.save(figure, path)
    if 'shares' not in arrays:
        return
    given = [one.cls_to_prompts().mean((0, 1)).cpu().numpy() for one in maps]
    figure = pictures.draw_shares(arrays['layers'], arrays['shares'], given)
    pictures.save(figure, path.with_name(f'{path.stem}_layers.png'))
    for one, (own, prompts, patches) in zip(maps, arrays['shares']):
        print(
            f'layer {one.layer:2d}  CLS gives {100 * prompts:5.1f} % to prompts, '
            f'{100 * patches:5.1f} % to patches, {100 * own:5.1f} % to itself'
        )


if __name__ == '__main__':
    run_tool(main)
