# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Datasets of a few random images in the exact layouts of the real ones."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from mmvpt.datasets import FGVC, VTAB1k

FEW = 6  # validation and test images


def write_image(path: Path, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Write a random colour image; ``size`` is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR)
    assert cv2.imwrite(str(path), image)


def make_vtab1k(
    root: str | Path,
    task: str | None = 'cifar100',
    num_classes: int | None = None,
    size: tuple[int, int] = (32, 40),
    per_class: int = 1,
) -> Path:
    """Write a VTAB-1k task under ``root`` (its data_root) and return its folder.

    All four lists exist and every class has ``per_class`` images in train800. With
    ``task=None`` the folder is ``root`` itself, with a classes.txt.
    """
    root = Path(root)
    if task is None:
        num_classes = num_classes or 4
        folder = root
    else:
        num_classes = num_classes or VTAB1k.TASKS[task].num_classes
        folder = root / VTAB1k.TASKS[task].folder
    rng = np.random.default_rng(0)
    lists = {}
    labels = {
        'train800': [label for label in range(num_classes) for _ in range(per_class)],
        'val200': [i % num_classes for i in range(FEW)],
        'test': [i % num_classes for i in range(FEW)],
    }
    for split, split_labels in labels.items():
        lists[split] = []
        for i, label in enumerate(split_labels):
            name = f'images/{split}/{i:05d}.{"jpg" if i % 2 else "png"}'
            write_image(folder / name, size, rng)
            lists[split].append(f'{name} {label}')
    lists['train800val200'] = lists['train800'] + lists['val200']
    for split, lines in lists.items():
        (folder / f'{split}.txt').write_text('\n'.join(lines) + '\n')
    if task is None:
        names = [f'class {label}' for label in range(num_classes)]
        (folder / 'classes.txt').write_text('\n'.join(names) + '\n')
    return folder


def make_fgvc(
    root: str | Path,
    name: str = 'cub',
    num_classes: int | None = None,
    size: tuple[int, int] = (40, 48),
    per_class: int = 1,
) -> Path:
    """Write an FGVC task under ``root`` (its data_root) and return its folder.

    Class ids start at 1, as in the published splits of some tasks; every class has
    ``per_class`` images in train.json.
    """
    task = FGVC.TASKS[name]
    num_classes = num_classes or task.num_classes
    folder = Path(root) / task.folders[0]
    rng = np.random.default_rng(0)
    ids = {
        'train': [i + 1 for i in range(num_classes) for _ in range(per_class)],
        'val': [i % num_classes + 1 for i in range(FEW)],
        'test': [i % num_classes + 1 for i in range(FEW)],
    }
    for split, split_ids in ids.items():
        content = {}
        for i, class_id in enumerate(split_ids):
            image = f'{class_id:03d}.some bird/{split}_{i:04d}.jpg'
            write_image(folder / task.image_dirs[0] / image, size, rng)
            content[image] = class_id
        (folder / f'{split}.json').write_text(json.dumps(content))
    return folder
