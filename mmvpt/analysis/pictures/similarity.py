# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Picture of how alike prompts are."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from .style import DIVERGING, add_caption, new_figure


def draw_similarity(arrays: dict[str, np.ndarray], num_images: int) -> Figure:
    """Draw what :func:`mmvpt.analysis.prompt_similarity` returned.

    Args:
        arrays: The arrays.
        num_images: Images that were read, for the caption.
    """
    cosine, owner, layers = (arrays[k] for k in ('cosine', 'layer', 'layers'))
    figure = new_figure(9, 4.6)
    left, right = figure.subplots(1, 2)
    colours = dict(cmap=DIVERGING, vmin=-1, vmax=1, interpolation='nearest')
    shown = left.imshow(cosine, **colours)
    starts = np.searchsorted(owner, layers)
    middles = [(owner == i).nonzero()[0].mean() for i in layers]
    for start in starts[1:]:
        left.axhline(start - 0.5, color='black', lw=0.6)
        left.axvline(start - 0.5, color='black', lw=0.6)
    step = max(1, len(layers) // 12)
    for axis, places in ((left, middles), (right, range(len(layers)))):
        axis.set_xticks(places[::step], layers[::step])
        axis.set_yticks(places[::step], layers[::step])
        axis.set(xlabel='layer', ylabel='layer')
    left.set_title('single prompts')
    right.imshow(arrays['means'], **colours)
    right.set_facecolor('#EEEEEE')
    right.set_title('mean over pairs of prompts')
    if len(layers) <= 12:
        for (y, x), value in np.ndenumerate(arrays['means']):
            if np.isfinite(value):
                right.text(
                    x,
                    y,
                    f'{value:.2f}'.replace('-0.00', '0.00'),
                    ha='center',
                    va='center',
                    fontsize=8 if len(layers) <= 8 else 6,
                    color='white' if abs(value) > 0.6 else 'black',
                )
    figure.colorbar(shown, ax=[left, right], shrink=0.75, label='cosine')
    add_caption(
        figure,
        f'Cosine between the {len(owner)} prompts that enter the layers, mean over '
        f'{num_images} image{"s" * (num_images > 1)}; the first layer is 0. Left: '
        'every prompt with every other, lines between layers. Right: mean over the '
        'pairs of two layers, on the diagonal over different prompts of one layer.',
    )
    return figure
