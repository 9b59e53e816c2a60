# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Colours, captions and files of all pictures."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

#: Okabe and Ito's colours, told apart with every common colour blindness, darker
#: first; yellow is left out, too light for a line on white.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
BLUE, ORANGE, GREEN = COLOURS[:3]
GREY = '#777777'
MARKERS = 'osD^vPX*'
#: From 0 upwards, and around 0; both even in lightness.
SEQUENTIAL, DIVERGING = 'viridis', 'RdBu_r'
_CAPTION_SIZE = 8


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of a size in inches, free of pyplot's global state."""
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def categories(count: int) -> ListedColormap:
    """Return colours of ``count`` categories: distinct ones, or shades if many."""
    if count <= len(COLOURS):
        return ListedColormap(COLOURS[:count])
    import matplotlib

    shades = matplotlib.colormaps['viridis'](np.linspace(0, 1, count))
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
