# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Training curves of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from mmvpt.analysis.curves import Curve

from .style import COLOURS, MARKERS, add_caption, new_figure

_STYLES = ('-', '--', ':', '-.')


def draw_curves(
    runs: Mapping[str, Mapping[str, Curve]], keys: Sequence[str], log: bool = False
) -> Figure:
    """Draw some scalars of several runs, one panel for each scalar.

    Args:
        runs: By name of the run, its curves.
        keys: Names of scalars; a run that has none of a name is left out there.
        log: Logarithmic vertical axes.
    """
    columns = min(3, len(keys))
    rows = int(np.ceil(len(keys) / columns))
    figure = new_figure(4.2 * columns + 0.3, 3 * rows + 1.1 + 0.07 * len(runs))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    handles = {}
    for axis, key in zip(axes, keys):
        units = set()
        for k, (name, curves) in enumerate(runs.items()):
            if key not in curves:
                continue
            curve = curves[key]
            units.add(curve.unit)
            (handles[name],) = axis.plot(
                curve.steps,
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
        ncols=min(5, len(handles)),
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
