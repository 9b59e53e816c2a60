# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Images of a data set as the model gets them and as a person sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from mmvpt.errors import UserError

from .guidance.labels import image_classes


@dataclass(frozen=True)
class ShownImages:
    """A few images."""

    inputs: Tensor  # preprocessed, on the model's device, (B, 3, height, width)
    #: uint8 (B, height', width', 3), RGB, padded at the bottom and right to whole
    #: patches as the backbone pads.
    pictures: np.ndarray
    #: Class of each, (B,), or which it has, bool (B, K); None if unknown.
    classes: Tensor | None
    names: tuple[str, ...]  # a line for each: its class, or its file


def choose_indices(dataset: Any, count: int) -> list[int]:
    """Choose images of a data set: one of each class in turn, else evenly spread."""
    count = min(count, len(dataset))
    if not hasattr(dataset, 'get_gt_labels'):
        return np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()
    labels = np.asarray(dataset.get_gt_labels())
    turn: np.ndarray = np.zeros(len(labels), dtype=int)
    for label in np.unique(labels):
        mine = labels == label
        turn[mine] = np.arange(mine.sum())
    # Firsts of all classes, then seconds; within a turn by class.
    return sorted(np.lexsort((labels, turn))[:count].tolist(), key=lambda i: labels[i])


def show_images(
    model: nn.Module,
    items: Sequence[Mapping[str, Any]],
    patch_size: int,
    classes: Sequence[str] = (),
    num_classes: int | None = None,
) -> ShownImages:
    """Preprocess items of a data set together.

    Args:
        model: An OpenMMLab model with a ``data_preprocessor``.
        items: What the pipeline returned, with ``inputs`` (3, height, width) in BGR, as
            OpenMMLab's loaders give them, and ``data_samples``.
        patch_size: Side of a patch in pixels.
        classes: Names of the classes.
        num_classes: K, by default the number of names.
    """
    if not items:
        raise UserError('there are no images to look at; give at least one.')
    sizes = {tuple(item['inputs'].shape[-2:]) for item in items}
    if len(sizes) > 1:
        raise UserError(
            f'the images have different sizes behind the pipeline ({sorted(sizes)}), '
            'so they make no batch. Look at one at a time.'
        )
    with torch.no_grad():
        inputs = model.data_preprocessor(pseudo_collate(list(items)), False)['inputs']
    raw = torch.stack([item['inputs'] for item in items]).flip(1)
    pictures = raw.permute(0, 2, 3, 1).clamp(0, 255).byte().cpu().numpy()
    missing = [-side % patch_size for side in pictures.shape[1:3]]
    pad = ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0))
    samples = [item['data_samples'] for item in items]
    found = None
    keys = ('gt_label', 'gt_sem_seg', 'gt_instances')
    if any(all(key in sample for sample in samples) for key in keys):
        found = image_classes(samples, num_classes or len(classes))
    return ShownImages(
        inputs=inputs,
        pictures=np.pad(pictures, pad),
        classes=found,
        names=tuple(
            _name(i, sample, found, classes) for i, sample in enumerate(samples)
        ),
    )


def _name(index: int, sample: Any, found: Tensor | None, classes: Sequence[str]) -> str:
    if found is not None and found.dim() == 1:
        label = int(found[index])
        return str(classes[label]) if label < len(classes) else f'class {label}'
    path = str(getattr(sample, 'img_path', '') or f'image {index}')
    return path.replace('\\', '/').rsplit('/', 1)[-1]
