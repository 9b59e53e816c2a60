# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Segmentations side by side: image, ground truth and the predictions of runs.

Label maps come from ``tools/test.py --out FOLDER``; images, masks, classes and colours
from the test data of a config. Also prints the IoU of each class.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np

from mmvpt.errors import MissingFileError

matplotlib.use('Agg')
import matplotlib.pyplot as plt
from matplotlib.patches import Patch

IGNORED = 255
VOID = np.array([255, 255, 255], np.uint8)  # colour of pixels without a class


def main(argv: Sequence[str] | None = None) -> None:
    """Draw, and print the table."""
    from mmengine.config import Config

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config whose test data was predicted')
    parser.add_argument('--out', required=True, help='the picture')
    parser.add_argument(
        '--predictions', nargs='+', required=True, metavar='NAME=FOLDER'
    )
    parser.add_argument('--data-root', help='instead of the one in the config')
    parser.add_argument('--names', nargs='+', help='images to draw, without suffix')
    args = parser.parse_args(argv)
    dataset = Config.fromfile(args.config).test_dataloader.dataset
    predictions = dict(item.split('=', 1) for item in args.predictions)
    scenes = Scenes(dataset, args.data_root)
    draw(scenes, predictions, Path(args.out), args.names)
    ious = {name: class_ious(scenes, folder) for name, folder in predictions.items()}
    for i, name in enumerate(scenes.classes):
        print(f'{name:<12}', *(f'{100 * iou[i]:5.1f}' for iou in ious.values()))


class Scenes:
    """Images and masks of a dataset's config, by name.

    Args:
        dataset: Config of a ``BaseSegDataset``.
        data_root: Instead of the config's.
    """

    def __init__(self, dataset: Mapping[str, Any], data_root: str | None) -> None:
        root = Path(data_root or dataset['data_root'])
        self.images = root / dataset['data_prefix']['img_path']
        self.masks = root / dataset['data_prefix']['seg_map_path']
        self.suffix = dataset['img_suffix']
        self.classes = tuple(dataset['metainfo']['classes'])
        self.palette = np.array(dataset['metainfo']['palette'], np.uint8)
        self.names = sorted(path.stem for path in self.masks.glob('*.png'))

    def image(self, name: str) -> np.ndarray:
        """Return an image, RGB."""
        return cv2.imread(str(self.images / f'{name}{self.suffix}'))[..., ::-1]

    def mask(self, name: str) -> np.ndarray:
        """Return a ground truth."""
        return label_map(self.masks / f'{name}.png')

    def colours(self, labels: np.ndarray) -> np.ndarray:
        """Return labels in the colours of the classes, RGB."""
        table: np.ndarray = np.full((256, 3), VOID, np.uint8)
        table[: len(self.palette)] = self.palette
        return table[labels]


def label_map(path: Path) -> np.ndarray:
    """Read a label map.

    Raises:
        MissingFileError: If it cannot be read.
    """
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise MissingFileError(
            f'no label map {path}: write them with tools/test.py --out {path.parent}'
        )
    return labels


def draw(
    scenes: Scenes,
    predictions: Mapping[str, str | Path],
    path: Path,
    names: Sequence[str] | None = None,
    titles: Mapping[str, str] | None = None,
) -> None:
    """Draw one row for each image, one column for each prediction.

    Args:
        scenes: The images.
        predictions: Folders of label maps by method.
        path: The picture.
        names: Images to draw; by default four, spread over the data.
        titles: Lines to add to the titles of methods.
    """
    names = names or scenes.names[:: max(1, len(scenes.names) // 4)][:4]
    high, wide = scenes.mask(names[0]).shape
    columns, cell = 2 + len(predictions), 1.9
    fig, axes = plt.subplots(
        len(names),
        columns,
        figsize=(cell * columns, cell * high / wide * len(names) + 0.95),
        squeeze=False,
        layout='constrained',
    )
    for row, name in zip(axes, names):
        truth = scenes.mask(name)
        row[0].imshow(scenes.image(name))
        row[1].imshow(scenes.colours(truth), interpolation='nearest')
        for axis, folder in zip(row[2:], predictions.values()):
            labels = label_map(Path(folder) / f'{name}.png')
            axis.imshow(scenes.colours(labels), interpolation='nearest')
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    heads = ['image', 'ground truth']
    heads += [f'{m}\n{(titles or {}).get(m, "")}'.strip() for m in predictions]
    for axis, head in zip(axes[0], heads):
        axis.set_title(head, fontsize=9)
    patches = [
        Patch(facecolor=colour / 255, edgecolor='black', linewidth=0.5, label=name)
        for name, colour in zip(
            (*scenes.classes, 'not counted'), [*scenes.palette, VOID]
        )
    ]
    fig.legend(
        handles=patches,
        loc='outside lower center',
        ncols=min(len(patches), 2 * columns),
        fontsize=8,
        frameon=False,
    )
    fig.savefig(path, dpi=110)
    plt.close(fig)


def class_ious(scenes: Scenes, folder: str | Path) -> np.ndarray:
    """Return the IoU of each class over all test pixels, (K,), as mmseg counts it."""
    classes = len(scenes.classes)
    counts: np.ndarray = np.zeros((classes, classes), np.int64)
    for name in scenes.names:
        truth, labels = scenes.mask(name), label_map(Path(folder) / f'{name}.png')
        valid = truth != IGNORED
        pairs = classes * truth[valid].astype(int) + labels[valid]
        counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    hits = counts.diagonal()
    return hits / (counts.sum(0) + counts.sum(1) - hits)
