# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The picture of `make demo`."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

BLUE, ORANGE = '#0072B2', '#D55E00'  # readable by the colour-blind


def draw(
    results: Mapping[tuple[str, int], Any],
    methods: Sequence[str],
    reference: str,
    seed: int,
    path: Path,
    folders: Mapping[str, Path],
    compared: str = 'VPT-deep',
) -> None:
    """Draw accuracies of all runs, and test images that two methods read differently.

    Args:
        results: By method and seed, with ``tuned`` and ``test``.
        methods: Methods from top to bottom.
        reference: The method that marks the line.
        seed: The seed whose predictions are compared.
        path: The picture.
        folders: The folder of each method's run with that seed.
        compared: The method whose predictions are set against the reference's.
    """
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(11.5, 0.45 * len(methods) + 2.8), width_ratios=(1.1, 1)
    )
    _accuracies(left, results, methods, reference)
    pair = (reference, compared)
    shown = _disagreements([folders[method] for method in pair])
    _images(right, shown, compared, seed)
    fig.tight_layout()
    fig.savefig(path, dpi=120)
    plt.close(fig)


def _accuracies(axis: plt.Axes, results, methods, reference) -> None:
    tests_of = {
        method: [r.test for (name, _), r in results.items() if name == method]
        for method in methods
    }
    tuned = {method: r.tuned for (method, _), r in results.items()}
    for y, method in enumerate(methods):
        tests = tests_of[method]
        axis.plot(tests, [y] * len(tests), 'o', color=BLUE, alpha=0.5)
        axis.plot(np.mean(tests), y, '|', color='black', ms=22, mew=2)
        axis.annotate(
            f'{np.mean(tests):.1f}',
            (np.mean(tests), y),
            textcoords='offset points',
            xytext=(0, 12),
            ha='center',
            fontsize=9,
        )
    axis.axvline(np.mean(tests_of[reference]), color=ORANGE, ls='--', lw=1, zorder=0)
    labels = [f'{method}\n{tuned[method]:,} tuned' for method in methods]
    axis.set_yticks(range(len(methods)), labels)
    axis.set_ylim(len(methods) - 0.5, -0.7)
    axis.set_xlabel('top-1 accuracy on 621 test images of digits 5-9, %')
    axis.set_title('dots: draws of the training images, bar: mean', fontsize=10)
    axis.grid(axis='x', alpha=0.3)


def _disagreements(work_dirs: Sequence[Path]) -> list[tuple]:
    """Return (image path, true class, prediction of each) where the two differ."""
    predictions = []
    for work_dir in work_dirs:
        with open(work_dir / 'predictions.pkl', 'rb') as file:
            predictions.append(pickle.load(file))
    shown = []
    for one, other in zip(*predictions):
        labels = [int(np.asarray(p['pred_label']).item()) for p in (one, other)]
        truth = int(np.asarray(one['gt_label']).item())
        if labels[0] != labels[1] and truth in labels:
            shown.append((one['img_path'], truth, *labels))
    return shown


def _images(axis: plt.Axes, shown: list[tuple], compared: str, seed: int) -> None:
    axis.axis('off')
    fixed = sum(truth == new for _, truth, _, new in shown)
    axis.set_title(
        f'seed {seed}: {compared} mends {fixed} errors of the probe (blue)\n'
        f'and makes {len(shown) - fixed} new ones (orange). Some of both,\n'
        f'true digit: read by probe / by {compared}',
        fontsize=9,
    )
    columns, rows = 6, 3
    step = max(1, len(shown) // (columns * rows))
    for k, (path, truth, old, new) in enumerate(shown[::step][: columns * rows]):
        inset = axis.inset_axes(
            ((k % columns) / columns, 0.98 - (k // columns + 1) / rows, 0.14, 0.24)
        )
        inset.imshow(plt.imread(path), cmap='gray_r')
        inset.set_xticks([])
        inset.set_yticks([])
        colour = BLUE if new == truth else ORANGE
        inset.set_title(f'{truth + 5}: {old + 5} / {new + 5}', fontsize=8, color=colour)
        for spine in inset.spines.values():
            spine.set_color(colour)
