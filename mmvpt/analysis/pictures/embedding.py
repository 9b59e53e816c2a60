# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Picture of prompts, class means, images and patches in the plane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import COLOURS, GREY, add_caption, new_figure

_NAMES = dict(tsne='t-SNE', umap='UMAP', pca='PCA')
_SPACES = dict(query='queries', key='keys', normed='normed tokens')


def draw_embedding(
    arrays: dict[str, np.ndarray],
    places: np.ndarray,
    method: str,
    space: str,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draw what :func:`mmvpt.analysis.layer_points` returned.

    Args:
        arrays: The points.
        places: Where they go, (P, 2).
        method: How they were placed.
        space: The space they were taken from.
        names: Names of the classes.
    """
    kind, number, group = (arrays[k] for k in ('kind', 'number', 'group'))
    mapped = bool((group[kind == 1] >= 0).any())
    owner = group if mapped else np.where(kind == 0, -1, number)
    count = int(owner.max()) + 1
    colour = np.array([COLOURS[k % len(COLOURS)] if k >= 0 else GREY for k in owner])
    if not mapped:
        colour[kind == 0] = 'black'
    figure = new_figure(7.6, 6.2)
    axis = figure.subplots()
    sizes, styles = (190, 90, 14, 9), ('*', 'o', 'o', 's')
    for k in (3, 2, 1, 0):  # prompts on top
        mine = kind == k
        axis.scatter(
            places[mine, 0],
            places[mine, 1],
            c='#A0A0A0' if k == 3 else colour[mine],
            s=sizes[k],
            marker=styles[k],
            alpha=0.55 if k >= 2 else 1,
            linewidths=0.8 if k < 2 else 0,
            edgecolors='white' if k < 2 else 'none',
            zorder=4 - k,
        )
    for place, text, is_prompt in _labels(places, kind, number, names):
        axis.annotate(
            text,
            place,
            textcoords='offset points',
            xytext=(7, 4),
            fontsize=8,
            fontweight='bold' if is_prompt else 'normal',
            zorder=5,
            bbox=dict(boxstyle='round,pad=0.1', fc='white', ec='none', alpha=0.6),
        )
    axis.set_xticks([])
    axis.set_yticks([])
    ink = 'black' if count > 1 else COLOURS[0]
    titles = ('prompt', 'class mean', 'image (CLS)', 'patch')
    handles = [
        Line2D(
            [],
            [],
            color='#A0A0A0' if k == 3 else ink,
            marker=styles[k],
            ls='',
            ms=sizes[k] ** 0.5,
            label=titles[k],
        )
        for k in range(4)
        if (kind == k).any()
    ]
    axis.legend(
        handles=handles,
        loc='lower center',
        bbox_to_anchor=(0.5, 1),
        ncols=4,
        fontsize=8,
        frameon=False,
    )
    meaning = (
        'a prompt pk and the classes and images that belong to it by the map'
        if mapped
        else 'images and mean of one class (prompts pk black)'
    )
    again = ' Colours repeat.' if count > len(COLOURS) else ''
    axes = (
        'Axes: the two directions of largest variance.'
        if method == 'pca'
        else 'Axes have no meaning, and of distances only near and far.'
    )
    add_caption(
        figure,
        f'{_SPACES[space].capitalize()} of layer {int(arrays["layer"])} (the first '
        f'layer is 0), scaled to length 1 and placed by {_NAMES[method]}. One colour: '
        f'{meaning}.{again} {axes}',
    )
    return figure


def _labels(
    places: np.ndarray,
    kind: np.ndarray,
    number: np.ndarray,
    names: Sequence[str] | None,
) -> Iterator[tuple[tuple[float, float], str, bool]]:
    """Yield place and text of labels, one for points that nearly coincide.

    Prompts and class means are never in one label. More than 30 of a kind have none.
    """
    extent = np.ptp(places, axis=0).max() or 1.0
    for k in (1, 0):
        mine = np.flatnonzero(kind == k)
        if len(mine) > 30:
            continue
        labelled: list[tuple[np.ndarray, list[str]]] = []
        for i in mine:
            text = f'p{number[i]}' if k == 0 else str(number[i])
            text = str(names[number[i]]) if k == 1 and names else text
            near = [
                texts
                for place, texts in labelled
                if abs(place - places[i]).max() < 0.015 * extent
            ]
            if near:
                near[0].append(text)
            else:
                labelled.append((places[i], [text]))
        for place, texts in labelled:
            more = f' +{len(texts) - 3}' if len(texts) > 3 else ''
            yield (
                (float(place[0]), float(place[1])),
                ', '.join(texts[:3]) + more,
                k == 0,
            )
