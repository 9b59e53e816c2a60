# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Plots of what speed.py measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt

from mmvpt.errors import UserError

from .report import net

#: Readable by the colour-blind; one for each subject that is drawn, with a marker.
STYLES = {
    'vpt-deep': ('#0072B2', 'o', '-'),
    'vpt-deep/full-token': ('#0072B2', 'o', ':'),
    'vapt': ('#E69F00', 'v', '-'),
    'vpt-shallow': ('#009E73', 's', '-'),
    'bare': ('#000000', 'x', '-'),
    'full': ('#D55E00', 'D', '-'),
    'full-timm': ('#CC79A7', '^', '--'),
    'bare-timm': ('#CC79A7', 'x', ':'),
}
LABELS = {
    'operations': ('counted operations', 1e-9, 'GFLOP'),
    'processor': ('processor time, least', 1.0, 's'),
    'wall': ('wall time, least', 1.0, 's'),
    'memory': ('peak memory', 2**-20, 'MiB'),
}
#: Takes the setting of a group to the horizontal axis.
Place = Callable[[dict], int]
TITLES = {'train': 'training step', 'infer': 'inference'}


def plot(
    files: Sequence[str],
    *,
    value: str = 'operations',
    num_tokens: int = 50,
    image_size: int = 224,
    folder: str | Path = 'work_dirs/benchmark',
) -> list[Path]:
    """Draw, and return the files that were written.

    Args:
        files: What speed.py wrote; all count together.
        value: What is drawn.
        num_tokens: M of patches.png.
        image_size: Of prompts.png, in pixels.
        folder: Where the pictures go.

    Raises:
        UserError: If there is nothing to draw.
    """
    groups = [g for f in files for g in json.loads(Path(f).read_text())['groups']]
    wanted = dict(num_tokens=num_tokens, image_size=image_size)
    figures: dict[str, tuple[str, Place, str]] = {
        'prompts': ('M, prompts of a layer', lambda s: s['num_tokens'], 'image_size'),
        'patches': ('N, patches', lambda s: (s['image_size'] // 16) ** 2, 'num_tokens'),
    }
    written = []
    for name, (label, place, fixed) in figures.items():
        held = [g for g in groups if g['setting'][fixed] == wanted[fixed]]
        if len({place(g['setting']) for g in held}) > 1:
            written.append(Path(folder, f'{name}.png'))
            draw(held, value, place, label, written[-1])
    if not written:
        raise UserError(
            f'nothing to draw: the files have no two counts of prompts at '
            f'{image_size} pixels and no two image sizes with '
            f'{num_tokens} prompts. Measure more, or choose others.'
        )
    print(*written, sep='\n')
    return written


def draw(groups: list[dict], value: str, place: Place, label: str, path: Path) -> None:
    """Draw one figure with an axis for each mode.

    Args:
        groups: Groups of a benchmark's result.
        value: A key of ``LABELS``.
        place: Takes the setting of a group to the horizontal axis.
        label: What the horizontal axis is.
        path: Where the picture goes.
    """
    what, factor, unit = LABELS[value]
    measured = {group['setting']['mode'] for group in groups}
    modes = [mode for mode in TITLES if mode in measured]
    size = (1.6 + 3.4 * len(modes), 3.2)
    figure, axes = plt.subplots(
        1, len(modes), figsize=size, squeeze=False, layout='constrained'
    )
    for axis, mode in zip(axes[0], modes):
        here = [g for g in groups if g['setting']['mode'] == mode]
        for name, (colour, marker, line) in STYLES.items():
            points = sorted(points_of(here, name, value, place))
            if points:
                x, values = zip(*points)
                y = [factor * value for value in values]
                axis.plot(
                    x, y, line, color=colour, marker=marker, label=name, markersize=4
                )
        batch = here[0]['setting']['batch_size']
        axis.set_title(f'{TITLES[mode]}, batch {batch}', fontsize=10)
        axis.set_xlabel(label)
        axis.set_ylabel(f'{what}, {unit}')
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    lines = {line.get_label(): line for axis in axes[0] for line in axis.get_lines()}
    figure.legend(lines.values(), lines, fontsize=8, loc='outside right center')
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def points_of(
    groups: Iterable[dict], name: str, value: str, place: Place
) -> Iterable[tuple[int, float]]:
    """Yield place and value of a subject where it was measured.

    Args:
        groups: Groups of one mode.
        name: The subject.
        value: A key of ``LABELS``.
        place: Takes the setting of a group to the horizontal axis.
    """
    for group in groups:
        for row in group['rows']:
            if row['subject'] == name and value in row:
                found = row[value]
                if value == 'memory':
                    found = net(found)
                elif isinstance(found, dict):
                    found = found['least']
                yield place(group['setting']), found
