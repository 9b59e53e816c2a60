# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Picture of gates, temperatures and selection ratio."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from .style import BLUE, GREY, ORANGE, add_caption, new_figure


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
            _ticks(axis, [str(i) for i in layers])
            text.append(
                'Gate: how much of what the layer wrote at the prompts enters the next '
                'one, against what entered itself.'
            )
        elif name == 'weights':
            axis.bar(layers, 100 * values, color=[GREY] + [BLUE] * (len(values) - 1))
            ratio: np.ndarray = 100 * arrays['selection_ratio']
            axis.plot(layers[1:], ratio, 'D', color=ORANGE, ms=5)
            axis.set(xlabel='source', title='prompts of the last layer', ylabel='%')
            _ticks(axis, ['P', *(str(i) for i in layers[:-1])])
            text.append(
                'Prompts of the last layer: what they are a mean of, in percent; '
                'grey P: the learned prompts, blue: what each layer wrote. Diamonds: '
                'the selection ratio, shares among the layers alone.'
            )
        else:
            axis.bar(layers, values, color=BLUE)
            axis.axhline(1, color='black', lw=1, ls='--')
            axis.set(xlabel='layer', title='temperature', ylabel='temperature')
            _ticks(axis, [str(i) for i in layers])
            text.append(
                'Temperature: what divides the attention logits of the layer; dashed: '
                '1, as in the frozen model.'
            )
    add_caption(figure, ' '.join(text))
    return figure


def _ticks(axis, labels: list[str]) -> None:
    step = max(1, len(labels) // 14)
    axis.set_xticks(range(0, len(labels), step), labels[::step])
