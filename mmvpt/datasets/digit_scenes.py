# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Scenes of handwritten digits with pixel labels, in ADE20K's folder layout."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from mmvpt.errors import UserError

from .digits import load_scans, write_task

#: Label 0 is the background; 255 is no class and does not count.
CLASSES = ('background', '5', '6', '7', '8', '9')
SOURCE_CLASSES = ('background', *'01234', *(f'{digit} turned' for digit in range(5)))
SCENES = dict(training=160, validation=60, test=150)
SOURCE_SCENES = dict(training=600, validation=40)
SIZE = 96  # pixels of a scene's side
#: Shares of the scans of a class from which the scenes of a split are composed.
_SHARES = dict(training=0.4, validation=0.15, test=0.45)
_SOURCE_SHARES = dict(training=0.9, validation=0.1)
_DIGITS = (6, 10)  # fewest and most in a scene
_SIDES = (26, 36)  # of a digit's square, in pixels
_INK = 0.55  # share of the full grey value from which a pixel belongs to a digit
_EDGE = 0.35  # between this and _INK a pixel is ignored


def export_digit_scenes(
    data_root: str | os.PathLike = 'data',
    seeds: Sequence[int] = (0,),
    scenes: Mapping[str, int] | None = None,
    source_scenes: Mapping[str, int] | None = None,
) -> list[Path]:
    """Write scenes composed of handwritten digits in ADE20K's folder layout.

    * ``digit-scenes-source``: of the digits 0-4, upright and turned left, 10 classes.
      For pretraining.
    * ``digit-scenes-seed{n}``, one for each seed: of the digits 5-9 upright, 5 classes.

    Each has ``images/{training,validation,test}/*.png`` (96x96, grey),
    ``annotations/{training,validation,test}/*.png`` (0 background, then the classes,
    255 the edge of the ink, which is ignored) and ``classes.txt``; the source has no
    test split. A scene shows up to ten digits that do not touch, each 26 to 36 pixels
    high, on an uneven, noisy ground. Splits are composed of different scans. The same
    seed gives the same files.

    Written as :func:`mmvpt.datasets.export_digits` does, of the same scans.

    Args:
        data_root: Where the folders are put.
        seeds: Seeds that draw scans, places, sizes and grounds.
        scenes: Number of scenes by split, 160, 60 and 150 by default.
        source_scenes: Those of the source, 600 and 40 by default.

    Returns:
        The folders, the source first.

    Raises:
        FileExistsError: If a folder of that name holds something else.
        ImportError: If scikit-learn is missing.
        UserError: If a split is unknown or missing, or has no scene.
    """
    scenes = _check(scenes, SCENES)
    source_scenes = _check(source_scenes, SOURCE_SCENES)
    scans, digits = load_scans()
    root = Path(data_root).expanduser()
    root.mkdir(parents=True, exist_ok=True)

    turned = np.concatenate([scans, np.rot90(scans, 1, (1, 2))])
    labels = np.concatenate([np.where(digits < 5, digits + n, 0) for n in (1, 6)])
    rng = np.random.default_rng(0)
    files = _draw(turned, labels, source_scenes, _SOURCE_SHARES, rng)
    folder = root / 'digit-scenes-source'
    folders = [write_task(folder, files, {}, list(SOURCE_CLASSES))]
    for seed in seeds:
        labels = np.where(digits >= 5, digits - 4, 0)
        rng = np.random.default_rng(seed)
        files = _draw(scans, labels, scenes, _SHARES, rng)
        folder = root / f'digit-scenes-seed{seed}'
        folders.append(write_task(folder, files, {}, list(CLASSES)))
    return folders


def _check(given: Mapping[str, int] | None, default: dict[str, int]) -> dict[str, int]:
    scenes = dict(default if given is None else given)
    if set(scenes) != set(default) or min(scenes.values()) < 1:
        raise UserError(
            f'scenes must give a number of at least 1 for each of {tuple(default)}, '
            f'got {scenes}.'
        )
    return scenes


def _draw(
    scans: np.ndarray,
    labels: np.ndarray,
    scenes: Mapping[str, int],
    shares: Mapping[str, float],
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Return images and label maps of all splits by path."""
    files = {}
    for split, pool in _split(labels, shares, rng).items():
        for i in range(scenes[split]):
            image, label_map = compose(scans, labels, pool, rng)
            files[f'images/{split}/{i:04d}.png'] = image
            files[f'annotations/{split}/{i:04d}.png'] = label_map
    return files


def compose(
    scans: np.ndarray,
    labels: np.ndarray,
    pool: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene.

    Args:
        scans: Grey scans, uint8 (n, 8, 8).
        labels: The label of each, (n,).
        pool: Indices of the scans to draw from.
        rng: Where randomness comes from.

    Returns:
        The image and its label map, both uint8 (96, 96).
    """
    ground = cv2.resize(
        rng.uniform(0.0, 0.35, (4, 4)), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC
    )
    ink = np.zeros((SIZE, SIZE))
    label_map: np.ndarray = np.zeros((SIZE, SIZE), np.uint8)
    taken: np.ndarray = np.zeros((SIZE, SIZE), bool)
    for scan in rng.choice(pool, rng.integers(_DIGITS[0], _DIGITS[1] + 1)):
        side = int(rng.integers(_SIDES[0], _SIDES[1] + 1))
        stroke = _enlarge(scans[scan], side)
        for _ in range(20):  # places; a digit that fits nowhere is left out
            top, left = rng.integers(0, SIZE - side + 1, 2)
            area = np.s_[top : top + side, left : left + side]
            if taken[area][stroke > _EDGE].any():
                continue
            ink[area] = np.maximum(ink[area], stroke)
            label_map[area][stroke > _EDGE] = 255
            label_map[area][stroke > _INK] = labels[scan]
            halo = cv2.dilate((stroke > _EDGE).astype(np.uint8), np.ones((5, 5)))
            taken[area] |= halo > 0
            break
    noise = rng.normal(0, 0.04, (SIZE, SIZE))
    image = ground + (1 - ground) * ink + noise
    return np.round(image.clip(0, 1) * 255).astype(np.uint8), label_map


def _split(
    labels: np.ndarray, shares: Mapping[str, float], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Deal the scans with a label above 0 out to the splits, class by class."""
    parts: dict[str, list[np.ndarray]] = {split: [] for split in shares}
    for label in range(1, labels.max() + 1):
        order = rng.permutation(np.flatnonzero(labels == label))
        ends = np.cumsum([round(s * len(order)) for s in shares.values()])[:-1]
        for split, part in zip(parts, np.split(order, ends)):
            parts[split].append(part)
    return {split: np.concatenate(part) for split, part in parts.items()}


def _enlarge(scan: np.ndarray, side: int) -> np.ndarray:
    """Return a scan's ink from 0 to 1, (side, side)."""
    large = cv2.resize(scan / 255, (side, side), interpolation=cv2.INTER_CUBIC)
    return large.clip(0, 1)
