# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Picture of DA-VPT's map over training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import BLUE, COLOURS, ORANGE, add_caption, categories, new_figure


def draw_class_map(
    maps: np.ndarray,
    drift: dict[str, np.ndarray],
    num_prompts: int,
    times: np.ndarray,
    unit: str,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draw which prompt each class has after each update, and the drift.

    Args:
        maps: (U, K).
        drift: What :func:`mmvpt.analysis.drift` returned.
        num_prompts: M.
        times: Epochs complete, or iteration, when each map was made, (U,).
        unit: ``epoch`` or ``iteration``.
        names: Names of the classes.
    """
    updates, num_classes = maps.shape
    order = np.lexsort(maps)  # by the last map, then by the one before it, ...
    labels = [names[c] if names else str(c) for c in order]
    legible = num_classes <= 60
    height = float(np.clip(0.17 * num_classes, 1.6, 8.0))
    figure = new_figure(8, height + 2.9)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(height, 1.3))
    colours = categories(num_prompts)
    image = top.imshow(
        maps[:, order].T,
        cmap=colours,
        aspect='auto',
        interpolation='nearest',
        vmin=-0.5,
        vmax=num_prompts - 0.5,
    )
    if legible and updates <= 40:
        for x in range(updates):
            for y, c in enumerate(order):
                red, green, blue, _ = colours(int(maps[x, c]))
                dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
                top.text(
                    x,
                    y,
                    maps[x, c],
                    ha='center',
                    va='center',
                    fontsize=7,
                    color='white' if dark else 'black',
                )
    bar = figure.colorbar(image, ax=top, label='prompt')
    bar.set_ticks(range(0, num_prompts, max(1, num_prompts // 10)))
    top.set_ylabel('class')
    if legible:
        top.set_yticks(range(num_classes), labels, fontsize=7)
    else:
        top.set_yticks([])
    marks = range(updates)
    below.bar(marks, 100 * drift['as_is'], color=BLUE, width=0.6)
    below.plot(
        marks, 100 * drift['aligned'], 'D', color=ORANGE, ms=5 if updates <= 40 else 3
    )
    below.plot(marks, 100 * drift['from_first'], '-', color='black', lw=1)
    below.set_ylabel('classes\nmoved, %')
    below.set_ylim(
        0, max(10, 105 * max(drift['as_is'].max(), drift['from_first'].max()))
    )
    step = next(n for n in (1, 2, 5, 10, 20, 50, 10**4) if updates / n <= 20)
    below.set_xticks(range(0, updates, step), times[::step])
    below.set_xlabel(
        'epochs complete when the map was made'
        if unit == 'epoch'
        else 'iteration of the update'
    )
    handles = [
        Line2D([], [], color=BLUE, lw=6, label='since the last map'),
        Line2D([], [], color=ORANGE, marker='D', ls='', label='the same, renumbered'),
        Line2D([], [], color='black', lw=1, label='since the first map'),
    ]
    below.legend(
        handles=handles,
        loc='lower center',
        bbox_to_anchor=(0.5, 1),
        ncols=3,
        fontsize=8,
        frameon=False,
    )
    shades = ' Shades are far apart only for clearly different numbers.'
    add_caption(
        figure,
        f'The prompt (0 to {num_prompts - 1}) of each of the {num_classes} classes '
        'after every update of the map; classes are sorted by their last prompt.'
        f'{shades if num_prompts > len(COLOURS) else ""} Below: the share of classes '
        'whose prompt changed, prompts compared by their numbers. Diamonds: the least '
        'share if prompts are renumbered at best, so what is left is groups that '
        'changed.',
    )
    return figure
