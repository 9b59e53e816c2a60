# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Pictures of attention."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmvpt.errors import UserError

from .style import BLUE, GREY, ORANGE, SEQUENTIAL, add_caption, new_figure


def draw_attention(
    images: np.ndarray,
    cls: np.ndarray | None,
    prompts: np.ndarray,
    num_extra: int,
    grid: tuple[int, int],
    *,
    layer: int,
    head: int | None = None,
    positive: np.ndarray | None = None,
    titles: Sequence[str] | None = None,
    max_prompts: int = 5,
) -> Figure:
    """Draw what CLS and prompts of one layer attend to, a row for each image.

    Columns: the image, CLS to patches, CLS to prompts, and some prompts to patches.
    Maps show each patch's share of what that query gives to all patches.

    Args:
        images: uint8 (B, height, width, 3), RGB.
        cls: (B, H, T), or None.
        prompts: (B, H, M, T).
        num_extra: 1 with CLS, else 0.
        grid: Rows and columns of the patches.
        layer: Index of the layer, for the caption.
        head: One head, or None for the mean.
        positive: The prompt each image belongs to, (B,), -1 for none.
        titles: A line for each image.
        max_prompts: Prompts that get a map: the positive one and those to which CLS
            gives most over all images.

    Raises:
        UserError: If the layer has no prompts, or no such head.
    """
    num_heads, count = prompts.shape[1:3]
    if not count:
        raise UserError(f'layer {layer} has no prompts; choose another layer.')
    if head is not None and not 0 <= head < num_heads:
        raise UserError(f'head must be from 0 to {num_heads - 1}, got {head}.')

    def of_head(weights: np.ndarray) -> np.ndarray:
        return weights.mean(axis=1) if head is None else weights[:, head]

    first = num_extra + count  # the first patch
    prompts = of_head(prompts)
    cls = None if cls is None else of_head(cls)
    given = None if cls is None else cls[:, num_extra:first]
    weight = prompts[..., first:].sum(-1) if given is None else given
    shown = _choose(weight.mean(axis=0), positive, max_prompts)
    queries = [('CLS', cls)] if cls is not None else []
    queries += [(f'prompt {k}', prompts[:, k]) for k in shown]
    wide = 0 if given is None else 1  # a column for the bars
    ratios = [1.0, *[1.0] * len(queries)]
    if wide:
        ratios.insert(2, 1.5)
    figure = new_figure(1.32 * sum(ratios) + 0.9, 1.42 * len(images) + 1.4)
    axes: Any = figure.subplots(
        len(images), len(ratios), squeeze=False, width_ratios=ratios
    )
    maps = [_shares(weights[:, first:], grid) for _, weights in queries]
    top = float(np.quantile(maps, 0.995))
    columns = [i for i in range(1, len(ratios)) if not (wide and i == 2)]
    for row, line in enumerate(axes):
        mine = -1 if positive is None else int(positive[row])
        _image(line[0], images[row])
        if titles is not None:
            line[0].set_ylabel(textwrap.fill(titles[row], 20), fontsize=8)
        for column, (name, _), values in zip(columns, queries, maps):
            axis = line[column]
            # Little contrast, so that the colours of the map can be read above it.
            grey = 0.35 + 0.4 * images[row].mean(-1) / 255
            _image(axis, grey, cmap='gray', vmin=0, vmax=1)
            shown_map = axis.imshow(
                values[row],
                cmap=SEQUENTIAL,
                vmin=0,
                vmax=top,
                alpha=0.7,
                extent=(-0.5, images.shape[2] - 0.5, images.shape[1] - 0.5, -0.5),
                interpolation='nearest',
            )
            if name == f'prompt {mine}':
                for spine in axis.spines.values():
                    spine.set(color=ORANGE, linewidth=3)
            if row == 0:
                axis.set_title(f'{name}\nto patches', fontsize=8)
        if wide:
            last = row == len(images) - 1
            _bars(line[2], given[row], mine, given.max(), row == 0, last)
    axes[0, 0].set_title('image', fontsize=8)
    bar = figure.colorbar(
        shown_map, ax=axes, shrink=0.7, aspect=30, pad=0.01, extend='max'
    )
    bar.set_label("share of the query's\nattention to patches", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.solids.set_alpha(1)
    which = f'mean over {num_heads} heads' if head is None else f'head {head}'
    text = (
        f'Attention in layer {layer} (the first layer is 0), {which}. Maps: how CLS '
        'and single prompts divide what they give to patches, over the image in grey; '
        'each map sums to 1, and the largest half percent has one colour.'
    )
    if titles is not None:
        text += ' Beside each image: its class or file.'
    if len(shown) < count:
        text += f' {len(shown)} of {count} prompts have a map: those CLS attends to'
        text += ' most' + ('' if positive is None else ', and the positive ones') + '.'
    if wide:
        text += ' Bars: the share of all attention of CLS that goes to each prompt.'
    if positive is not None and (positive >= 0).any():
        text += (
            " Orange: the positive prompt, that of the image's class (of several: of "
            'most of them).'
        )
    add_caption(figure, text)
    return figure


def draw_shares(
    layers: np.ndarray, shares: np.ndarray, cls_to_prompts: Sequence[np.ndarray]
) -> Figure:
    """Draw how CLS divides its attention in every layer.

    Args:
        layers: Indices of layers, (L,).
        shares: (L, 3), of CLS itself, prompts, patches.
        cls_to_prompts: For each layer what each prompt gets, (M,).
    """
    figure = new_figure(8, 3.6)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    below = np.zeros(len(layers))
    parts = zip(
        ('patches', 'prompts', 'CLS itself'),
        (shares[:, 2], shares[:, 1], shares[:, 0]),
        (BLUE, ORANGE, '#BBBBBB'),
    )
    for name, values, colour in parts:
        left.bar(layers, 100 * values, bottom=100 * below, color=colour, label=name)
        below = below + values
    left.set(xlabel='layer', ylabel="share of CLS' attention, %", ylim=(0, 100))
    left.set_xticks(layers)
    left.legend(
        loc='lower center', bbox_to_anchor=(0.5, 1), ncols=3, fontsize=8, frameon=False
    )
    most = max(len(row) for row in cls_to_prompts)
    table = np.full((len(layers), most), np.nan)
    for row, values in zip(table, cls_to_prompts):
        row[: len(values)] = 100 * values
    shown = right.imshow(table, cmap=SEQUENTIAL, vmin=0, aspect='auto')
    right.set_facecolor('#EEEEEE')
    right.set(xlabel='prompt', ylabel='layer')
    right.set_yticks(range(len(layers)), layers)
    step = max(1, most // 10)
    right.set_xticks(range(0, most, step))
    figure.colorbar(shown, ax=right, label="share of CLS' attention, %")
    add_caption(
        figure,
        'How CLS divides its attention, mean over images and heads; the first layer is '
        '0. Left: what goes to patches, prompts and CLS itself. Right: what each '
        'prompt gets; grey: no such prompt in the layer. Prompts of different layers '
        'with the same number have nothing in common unless a method carries them on.',
    )
    return figure


def _choose(weight: np.ndarray, positive: np.ndarray | None, most: int) -> list[int]:
    """Return which prompts get a map, ascending."""
    wanted = [] if positive is None else [int(k) for k in positive if k >= 0]
    order = [*dict.fromkeys(wanted), *(int(k) for k in np.argsort(-weight))]
    return sorted(list(dict.fromkeys(order))[:most])


def _shares(weights: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return maps (B, rows, columns) that sum to 1."""
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return weights.reshape(len(weights), *grid)


def _image(axis: Axes, image: np.ndarray, **options) -> None:
    axis.imshow(image, **options)
    axis.set_xticks([])
    axis.set_yticks([])


def _bars(
    axis: Axes, given: np.ndarray, mine: int, top: float, first: bool, last: bool
) -> None:
    """Draw what CLS gives to each prompt."""
    colours = [ORANGE if k == mine else GREY for k in range(len(given))]
    axis.bar(range(len(given)), 100 * given, color=colours)
    axis.set_ylim(0, 108 * top)
    axis.set_xlim(-0.7, len(given) - 0.3)
    step = max(1, len(given) // 8)
    axis.set_xticks(range(0, len(given), step))
    axis.tick_params(labelsize=7)
    axis.spines[['top', 'right']].set_visible(False)
    axis.set_ylabel('%', fontsize=7, labelpad=1)
    if first:
        axis.set_title('CLS\nto prompts', fontsize=8)
    if last:
        axis.set_xlabel('prompt', fontsize=7)
