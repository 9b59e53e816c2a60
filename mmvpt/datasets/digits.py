# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""scikit-learn's handwritten digits as image files in VTAB-1k layout."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import MMLogger

from mmvpt.errors import FileInTheWayError, UserError, needed
from mmvpt.files import folder_aside

MANIFEST = 'export.json'
ROTATIONS = (0, 90, 180, 270)


def export_digits(
    data_root: str | os.PathLike = 'data',
    seeds: Sequence[int] = (0,),
    train_per_class: int = 40,
    val_per_class: int = 15,
) -> list[Path]:
    """Write the demo's two tasks as 8x8 grey PNG files with list files.

    * ``digits-source``: the digits 0-4 in four rotations, 20 classes, 3,604 images.
      ``train.txt`` and ``val.txt`` (every tenth scan, in all its rotations) and
      ``trainval.txt``. For pretraining.
    * ``digits-target-seed{n}``, one for each seed: the digits 5-9 upright, 5 classes.
      ``train800.txt`` and ``val200.txt`` hold the given numbers per class, drawn with
      the seed, ``train800val200.txt`` both, ``test.txt`` the rest (621 by default).

    Grey values 0..16 become 0..255, so mean = std = 127.5 maps them to x / 8 - 1. Each
    folder is written aside and renamed when complete. One that is there already is left
    as it is.

    Source: scikit-learn's ``load_digits``, from E. Alpaydin and C. Kaynak, `Optical
    Recognition of Handwritten Digits <https://doi.org/10.24432/C50P49>`_.

    Args:
        data_root: Where the folders are put.
        seeds: Seeds of the target task's draws.
        train_per_class: Training images per class of the target task.
        val_per_class: Validation images per class of the target task.

    Returns:
        The folders, the source first.

    Raises:
        FileInTheWayError: If a folder of that name holds something else.
        MissingPackageError: If scikit-learn is missing.
        UserError: If a number is below 1 or no test image would be left in a class.
    """
    images, digits = load_scans()
    fewest = min(int((digits == digit).sum()) for digit in range(5, 10))
    if min(train_per_class, val_per_class) < 1 or (
        train_per_class + val_per_class >= fewest
    ):
        raise UserError(
            f'train_per_class={train_per_class} and val_per_class={val_per_class} must '
            f'be at least 1 and leave a test image: together below {fewest}.'
        )
    root = Path(data_root).expanduser()
    root.mkdir(parents=True, exist_ok=True)
    folders = [write_task(root / 'digits-source', *_source(images, digits))]
    for seed in seeds:
        task = _target(images, digits, seed, train_per_class, val_per_class)
        folders.append(write_task(root / f'digits-target-seed{seed}', *task))
    return folders


def load_scans() -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 images, (1797, 8, 8), and their digits, (1797,)."""
    with needed(
        'The digits come with scikit-learn, which is not installed: '
        'pip install scikit-learn.'
    ):
        from sklearn.datasets import load_digits
    loaded = load_digits()
    return np.round(loaded.images * (255 / 16)).astype(np.uint8), loaded.target


def _source(
    images: np.ndarray, digits: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, list[str]], list[str]]:
    """Return image files, lists and class names of the source task."""
    files = {}
    lists: dict[str, list[str]] = {'train': [], 'val': [], 'trainval': []}
    for count, scan in enumerate(np.flatnonzero(digits < 5)):
        split = 'val' if count % 10 == 9 else 'train'
        for turn, degrees in enumerate(ROTATIONS):
            label = int(digits[scan]) * len(ROTATIONS) + turn
            name = f'images/{digits[scan]}_{degrees}/{scan:04d}.png'
            files[name] = np.ascontiguousarray(np.rot90(images[scan], turn))
            lists[split].append(f'{name} {label}')
            lists['trainval'].append(f'{name} {label}')
    names = [f'{digit} turned by {r}' for digit in range(5) for r in ROTATIONS]
    return files, lists, names


def _target(
    images: np.ndarray,
    digits: np.ndarray,
    seed: int,
    train_per_class: int,
    val_per_class: int,
) -> tuple[dict[str, np.ndarray], dict[str, list[str]], list[str]]:
    """Return image files, lists and class names of a target task."""
    generator = np.random.default_rng(seed)
    files = {}
    lists: dict[str, list[str]] = {'train800': [], 'val200': [], 'test': []}
    for digit in range(5, 10):
        scans = generator.permutation(np.flatnonzero(digits == digit))
        for place, scan in enumerate(scans):
            if place < train_per_class:
                split = 'train800'
            elif place < train_per_class + val_per_class:
                split = 'val200'
            else:
                split = 'test'
            name = f'images/{digit}/{scan:04d}.png'
            files[name] = images[scan]
            lists[split].append(f'{name} {digit - 5}')
    lists = {split: sorted(lines) for split, lines in lists.items()}
    lists['train800val200'] = lists['train800'] + lists['val200']
    return files, lists, [str(digit) for digit in range(5, 10)]


def write_task(
    folder: Path,
    images: dict[str, np.ndarray],
    lists: dict[str, list[str]],
    names: list[str],
) -> Path:
    """Write one task to ``folder``, unless it is there; return the folder.

    Args:
        folder: Where to; it appears when everything is written.
        images: Images or label maps, uint8, by path below ``folder``.
        lists: Lines of list files by name, without ``.txt``.
        names: Names of the classes.
    """
    texts = {f'{split}.txt': lines for split, lines in lists.items()}
    texts['classes.txt'] = names
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for name in sorted(images):
        digest.update(name.encode() + images[name].tobytes())
    manifest = dict(
        source="scikit-learn's load_digits",
        images=len(images),
        lists={split: len(lines) for split, lines in lists.items()},
        sha256=digest.hexdigest(),
    )
    logger = MMLogger.get_current_instance()
    if folder.exists():
        _check_same(folder, manifest)
        logger.info(f'{folder} is there already')
        return folder

    try:
        with folder_aside(folder) as aside:
            for name, image in images.items():
                path = aside / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(cv2.imencode('.png', image)[1].tobytes())
            for name, lines in texts.items():
                (aside / name).write_text('\n'.join(lines) + '\n', encoding='utf-8')
            (aside / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')
    except OSError:
        if not folder.exists():
            raise
        _check_same(folder, manifest)  # another process won
    logger.info(f'Wrote {len(images)} images to {folder}')
    return folder


def _check_same(folder: Path, manifest: dict) -> None:
    """Raise FileExistsError unless ``folder`` is an export like this one."""
    remedy = f'Remove or rename {str(folder)!r}, or choose another data_root.'
    try:
        found = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        raise FileInTheWayError(
            f'{str(folder)!r} exists and is no export of the digits. {remedy}'
        ) from None
    if found != manifest:
        raise FileInTheWayError(
            f'{str(folder)!r} holds another export of the digits (other numbers per '
            f'class, or another version). {remedy}'
        )
