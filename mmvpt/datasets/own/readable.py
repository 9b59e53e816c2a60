# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Whether images can be decoded, before a run finds out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import mmcv

from mmvpt.datasets.image_files import extreme_shape, is_cut_off
from mmvpt.display import progress

from .found import first_few

THREADS = 8


def check_images(
    root: Path, paths: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Decode every image, as a data set would.

    Returns:
        Why images cannot be decoded, by path; and a digest of each other's bytes.
    """
    problems, digests = {}, {}
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        looked = zip(paths, pool.map(lambda path: _look(root / path), paths))
        for path, (problem, digest) in progress(looked, 'decoding', len(paths)):
            if problem:
                problems[path] = problem
            else:
                digests[path] = digest
    return problems, digests


def note_copies(
    notes: list[str],
    splits: Mapping[str, Sequence[str]],
    digests: Mapping[str, str],
) -> None:
    """Note which training images are, byte for byte, held-out images too."""
    train = {digests[path]: path for path in splits['train']}
    copies = [
        f'{path} ({split}) = {train[digests[path]]}'
        for split in ('val', 'test')
        for path in splits.get(split, ())
        if digests[path] in train
    ]
    if copies:
        notes.append(
            f'{len(copies)} images of val and test are copies of training images, so '
            f'results will look better than they are:\n{first_few(copies)}'
        )


def _look(path: Path) -> tuple[str, str]:
    """Return why an image cannot be decoded, '' if it can, and a digest."""
    try:
        content = path.read_bytes()
        image = mmcv.imfrombytes(content, flag='color', backend='cv2')
    except (OSError, cv2.error) as error:
        return f'{type(error).__name__}: {error}'.strip().splitlines()[0], ''
    if image is None:
        return f'no image ({len(content)} bytes)', ''
    extreme = extreme_shape(*image.shape[1::-1])
    if extreme:
        return extreme, ''
    if is_cut_off(path):
        return f'cut off ({len(content)} bytes): its end is missing', ''
    return '', hashlib.sha256(content).hexdigest()
