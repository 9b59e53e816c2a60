# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Pictures of the arrays, through matplotlib; nothing here computes."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmvpt.analysis.curves import Curve
from mmvpt.errors import UserError

#: Okabe and Ito's colours, told apart with every common colour blindness, darker
#: first; yellow is left out, too light for a line on white.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
BLUE, ORANGE, GREEN = COLOURS[:3]
GREY = '#777777'
MARKERS = 'osD^vPX*'
#: From 0 upwards, and around 0; both even in lightness.
SEQUENTIAL, DIVERGING = 'viridis', 'RdBu_r'
_CAPTION_SIZE = 8
#: A legend above its axis.
_ABOVE = dict(loc='lower center', bbox_to_anchor=(0.5, 1), fontsize=8, frameon=False)


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of a size in inches, free of pyplot's global state."""
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def _ticks(axis: Axes, labels: Sequence | np.ndarray, most: int) -> None:
    """Label the places 0, 1, ... of an axis, about ``most`` of them."""
    step = max(1, len(labels) // most)
    axis.set_xticks(range(0, len(labels), step), labels[::step])


def categories(count: int) -> ListedColormap:
    """Return colours of ``count`` categories: distinct ones, or shades if many."""
    if count <= len(COLOURS):
        return ListedColormap(COLOURS[:count])
    shades = colormaps['viridis'](np.linspace(0, 1, count))
    return ListedColormap(shades)


def add_caption(figure: Figure, text: str) -> None:
    """Write what a picture shows below it, and keep the text for :func:`save`.

    Args:
        figure: The figure.
        text: The caption; lines are broken here.
    """
    width = int(figure.get_figwidth() * 72 / (_CAPTION_SIZE * 0.53))
    figure.supxlabel(
        textwrap.fill(text, width), x=0.01, ha='left', fontsize=_CAPTION_SIZE
    )
    figure.set_label(text)


def save(figure: Figure, path: str | Path, dpi: int = 120) -> None:
    """Write a picture, and its caption beside it as ``.txt``.

    Both are written under temporary names and renamed, the picture last.

    Args:
        figure: The figure.
        path: The png file; folders are made.
        dpi: Pixels per inch.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    caption = path.with_suffix('.txt')
    temporary = [f.with_name(f'.{f.name}.tmp') for f in (caption, path)]
    temporary[0].write_text(textwrap.fill(str(figure.get_label()), 88) + '\n')
    figure.savefig(temporary[1], dpi=dpi, format='png', metadata={'Software': None})
    for written, target in zip(temporary, (caption, path)):
        os.replace(written, target)


def as_image(figure: Figure, dpi: int = 80) -> np.ndarray:
    """Return a picture as pixels, uint8 (height, width, 3), RGB."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


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
    left.legend(ncols=3, **_ABOVE)
    most = max(len(row) for row in cls_to_prompts)
    table = np.full((len(layers), most), np.nan)
    for row, values in zip(table, cls_to_prompts):
        row[: len(values)] = 100 * values
    shown = right.imshow(table, cmap=SEQUENTIAL, vmin=0, aspect='auto')
    right.set_facecolor('#EEEEEE')
    right.set(xlabel='prompt', ylabel='layer')
    right.set_yticks(range(len(layers)), layers)
    _ticks(right, range(most), 10)
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
    axis.set(xticks=[], yticks=[])


def _bars(
    axis: Axes, given: np.ndarray, mine: int, top: float, first: bool, last: bool
) -> None:
    """Draw what CLS gives to each prompt."""
    colours = [ORANGE if k == mine else GREY for k in range(len(given))]
    axis.bar(range(len(given)), 100 * given, color=colours)
    axis.set_ylim(0, 108 * top)
    axis.set_xlim(-0.7, len(given) - 0.3)
    _ticks(axis, range(len(given)), 8)
    axis.tick_params(labelsize=7)
    axis.spines[['top', 'right']].set_visible(False)
    axis.set_ylabel('%', fontsize=7, labelpad=1)
    if first:
        axis.set_title('CLS\nto prompts', fontsize=8)
    if last:
        axis.set_xlabel('prompt', fontsize=7)


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
    below.legend(handles=handles, ncols=3, **_ABOVE)
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


_STYLES = ('-', '--', ':', '-.')


def draw_curves(
    runs: Mapping[str, Mapping[str, Curve]],
    keys: Sequence[str],
    log: bool = False,
    seconds: bool = False,
) -> Figure:
    """Draw some scalars of several runs, one panel for each scalar.

    Args:
        runs: By name of the run, its curves.
        keys: Names of scalars; a run that has none of a name is left out there.
        log: Logarithmic vertical axes.
        seconds: Over seconds of training, which all these curves have.
    """
    columns = min(3, len(keys))
    rows = int(np.ceil(len(keys) / columns))
    width = 4.2 * columns + 0.3
    # as many names side by side as fit at 8 points, with the lines before them
    fitting = int(width / (0.062 * (max(map(len, runs)) + 9)))
    beside = max(1, min(5, fitting, len(runs)))
    lines = int(np.ceil(len(runs) / beside))
    figure = new_figure(width, 3 * rows + 1 + 0.18 * lines)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    handles = {}
    for axis, key in zip(axes, keys):
        units = set()
        for k, (name, curves) in enumerate(runs.items()):
            if key not in curves:
                continue
            curve = curves[key]
            units.add('seconds of training' if seconds else curve.unit)
            (handles[name],) = axis.plot(
                curve.seconds if seconds else curve.steps,
                curve.values,
                color=COLOURS[k % len(COLOURS)],
                ls=_STYLES[k % len(_STYLES)],
                marker=MARKERS[k % len(MARKERS)],
                markevery=max(1, len(curve.steps) // 6),
                ms=4,
                lw=1.4,
                label=name,
            )
        axis.set_title(key, fontsize=10)
        axis.set_xlabel(' or '.join(sorted(units)))
        axis.grid(alpha=0.3)
        if log:
            axis.set_yscale('log')
    for axis in axes[len(keys) :]:
        axis.remove()
    figure.legend(
        handles=list(handles.values()),
        loc='outside upper center',
        ncols=beside,
        fontsize=8,
        frameon=False,
    )
    scale = ' Vertical axes are logarithmic.' if log else ''
    add_caption(
        figure,
        f'Logged values of {len(runs)} run{"s" * (len(runs) > 1)}; training values '
        'are means over the window of the log, as mmengine writes them, and `loss` is '
        f'the sum where a run has several. Markers only tell lines apart.{scale}',
    )
    return figure


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
    axis.set(xticks=[], yticks=[])
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
    axis.legend(handles=handles, ncols=4, **_ABOVE)
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


def draw_gates(arrays: dict[str, np.ndarray]) -> Figure:
    """Draw what :func:`mmvpt.analysis.gate_arrays` returned, layer by layer.

    Args:
        arrays: Those that the model has.
    """
    panels = [name for name in ('gates', 'weights', 'temperatures') if name in arrays]
    figure = new_figure(3.6 * len(panels) + 0.4, 3.7)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    text = ['Gated Prompt Tuning, layer by layer; the first layer is 0.']
    for axis, name in zip(axes, panels):
        values = arrays[name]
        layers = np.arange(len(values))
        if name == 'gates':
            axis.bar(layers, values, color=BLUE)
            axis.set(
                xlabel='behind layer', title='gate', ylabel='gate (0: closed, 1: open)'
            )
            axis.set_ylim(0, 1.05 * max(values.max(), 1e-12))
            _ticks(axis, list(layers), 14)
            text.append(
                'Gate: how much of what the layer wrote at the prompts enters the next '
                'one, against what entered itself.'
            )
        elif name == 'weights':
            axis.bar(layers, 100 * values, color=[GREY] + [BLUE] * (len(values) - 1))
            ratio: np.ndarray = 100 * arrays['selection_ratio']
            axis.plot(layers[1:], ratio, 'D', color=ORANGE, ms=5)
            axis.set(xlabel='source', title='prompts of the last layer', ylabel='%')
            _ticks(axis, ['P', *layers[:-1]], 14)
            text.append(
                'Prompts of the last layer: what they are a mean of, in percent; '
                'grey P: the learned prompts, blue: what each layer wrote. Diamonds: '
                'the selection ratio, shares among the layers alone.'
            )
        else:
            axis.bar(layers, values, color=BLUE)
            axis.axhline(1, color='black', lw=1, ls='--')
            axis.set(xlabel='layer', title='temperature', ylabel='temperature')
            _ticks(axis, list(layers), 14)
            text.append(
                'Temperature: what divides the attention logits of the layer; dashed: '
                '1, as in the frozen model.'
            )
    add_caption(figure, ' '.join(text))
    return figure


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
