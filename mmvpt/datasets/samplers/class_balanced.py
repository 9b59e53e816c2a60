# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Samplers that count by class."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import numpy as np
import torch
from torch.utils.data import Sampler

from mmvpt.errors import UserError
from mmvpt.registry import DATA_SAMPLERS

from .seeded import Draw, SeededSampler, draw_seed


def gt_labels(dataset: Sized) -> np.ndarray:
    """Return the label of every image, without loading images.

    Args:
        dataset: A data set of mmpretrain, or a wrapper with ``get_data_info``.
    """
    if hasattr(dataset, 'get_gt_labels'):
        labels = dataset.get_gt_labels()
    elif hasattr(dataset, 'get_data_info'):
        infos = (dataset.get_data_info(i) for i in range(len(dataset)))
        found = [info.get('gt_label', -1) for info in infos]
        single = all(np.ndim(label) == 0 for label in found)
        labels = np.array(found if single else [])
    else:
        labels = np.array([])
    if labels.shape != (len(dataset),) or labels.dtype.kind not in 'iu':
        raise UserError(
            f'{type(dataset).__name__} does not tell one gt_label for each image, '
            'which sampling by class needs.'
        )
    if labels.min() < 0:
        raise UserError(f'{type(dataset).__name__} has images without a gt_label.')
    return labels


def by_class(dataset: Sized) -> list[list[int]]:
    """Return the indices of each class that has images, in order of labels."""
    labels = gt_labels(dataset)
    order = np.argsort(labels, kind='stable')
    starts: np.ndarray = np.flatnonzero(np.diff(labels[order])) + 1
    return [part.tolist() for part in np.split(order, starts)]


def draw(items: list[int], count: int, generator: torch.Generator) -> list[int]:
    """Draw ``count`` items without repeats; if too few, all of them several times."""
    repeats, rest = divmod(count, len(items))
    order = torch.randperm(len(items), generator=generator).tolist()
    return items * repeats + [items[i] for i in order[:rest]]


@DATA_SAMPLERS.register_module()
class ClassBalancedBatchSampler(Sampler):
    """Batches of few classes with equally many images of each.

    For every batch, ``batch_size / samples_per_class`` classes are drawn, then
    ``samples_per_class`` images of each, without repeats where there are enough. Under
    distributed training the batches of all ranks are drawn together, so R ranks see
    what one process with R times the batch size sees, and share images only where a
    class is too small. An epoch has as many batches as the images fill. With fewer
    classes than a batch has groups, some are drawn several times, and their images
    together, without repeats; the release draws each group by itself, so that an image
    may come twice.

    Draws depend on the sampler's seed and epoch alone. Use it with
    :class:`SeededSampler`, whose seed, epoch and ranks it takes over::

        train_dataloader = dict(
            batch_size=32,
            sampler=dict(type='mmvpt.SeededSampler'),
            batch_sampler=dict(
                type='mmvpt.ClassBalancedBatchSampler', samples_per_class=2
            ),
        )

    Source: `DA-VPT's released code <https://github.com/Noahsark/DA-VPT>`_, where it is
    always used and broken for several processes.

    Args:
        sampler: The sampler of single images.
        batch_size: Images of a batch, on each rank.
        samples_per_class: Images of each drawn class.

    Raises:
        UserError: If ``sampler`` is no :class:`SeededSampler`.
        UserError: If the numbers do not divide or the data fill no batch.
    """

    def __init__(
        self, sampler: SeededSampler, batch_size: int, samples_per_class: int = 2
    ) -> None:
        if not isinstance(sampler, SeededSampler):
            raise UserError(
                'ClassBalancedBatchSampler needs sampler=dict(type='
                f"'mmvpt.SeededSampler'), got {type(sampler).__name__}"
            )
        if samples_per_class < 1 or batch_size % samples_per_class:
            raise UserError(
                'samples_per_class must be at least 1 and divide the batch size '
                f'{batch_size}, got {samples_per_class}'
            )
        self.sampler = sampler
        self.batch_size = batch_size
        self.samples_per_class = samples_per_class
        self.classes = by_class(sampler.dataset)
        if not len(self):
            raise UserError(
                f'{len(sampler.dataset)} images do not fill a batch of '
                f'{batch_size * sampler.world_size}'
            )

    def __iter__(self) -> Iterator[list[Draw]]:
        """Yield this rank's batches of the epoch."""
        rank, world_size = self.sampler.rank, self.sampler.world_size
        seed, epoch = self.sampler.seed, self.sampler.epoch
        generator = torch.Generator()
        generator.manual_seed(draw_seed(seed, epoch, 0) >> 1)  # at most 63 bits
        for number in range(len(self)):
            batch_seed = draw_seed(seed, epoch, number)
            # The same class twice in a row of groups: on different ranks if possible.
            groups = self._groups(generator)[rank::world_size]
            yield [
                Draw(index, draw_seed(batch_seed, place, index))
                for group in groups
                for place, index in group
            ]

    def _groups(self, generator: torch.Generator) -> list[list[tuple[int, int]]]:
        """Draw the batches of all ranks: groups of one class, (place, index) each."""
        size = self.samples_per_class
        num_groups = self.batch_size // size * self.sampler.world_size
        chosen = draw(list(range(len(self.classes))), num_groups, generator)
        groups = []
        for label in sorted(set(chosen)):
            count = chosen.count(label) * size
            images = draw(self.classes[label], count, generator)
            groups += [images[i : i + size] for i in range(0, count, size)]
        places = iter(range(num_groups * size))
        return [[(next(places), index) for index in group] for group in groups]

    def __len__(self) -> int:
        """Return the number of batches of this rank."""
        images = len(self.sampler.dataset)
        return images // (self.batch_size * self.sampler.world_size)


@DATA_SAMPLERS.register_module()
class ClassMeansSampler(SeededSampler):
    """One pass over the data, or over some images of each class.

    Ranks share the images without repeats, so their numbers may differ by one.

    Args:
        dataset: The data set.
        samples_per_class: Images of each class, drawn without repeats where there are
            enough; None for all images.
        seed: Non-negative and equal on all ranks.
        max_images: Of these at most so many, drawn without repeats; None for all.

    Raises:
        UserError: If ``samples_per_class`` or ``max_images`` is below 1.
    """

    def __init__(
        self,
        dataset: Sized,
        samples_per_class: int | None = None,
        seed: int | None = None,
        max_images: int | None = None,
    ) -> None:
        super().__init__(dataset, shuffle=False, seed=seed, round_up=False)
        for name, count in (
            ('samples_per_class', samples_per_class),
            ('max_images', max_images),
        ):
            if count is not None and count < 1:
                raise UserError(f'{name} must be at least 1, got {count}')
        self.samples_per_class = samples_per_class
        self.max_images = max_images

    def __iter__(self) -> Iterator[Draw]:
        """Yield this rank's draws."""
        indices = list(range(len(self.dataset)))
        generator = torch.Generator()
        generator.manual_seed(self.seed)
        if self.samples_per_class is not None:
            indices = [
                index
                for images in by_class(self.dataset)
                for index in draw(images, self.samples_per_class, generator)
            ]
        if self.max_images is not None and self.max_images < len(indices):
            indices = draw(indices, self.max_images, generator)
        for place in range(self.rank, len(indices), self.world_size):
            seed = draw_seed(self.seed, place, indices[place])
            yield Draw(indices[place], seed)

    def __len__(self) -> int:
        """Return the number of draws of this rank."""
        images = len(self.dataset)
        if self.samples_per_class is not None:
            images = len(by_class(self.dataset)) * self.samples_per_class
        images = min(images, self.max_images or images)
        return (images - self.rank + self.world_size - 1) // self.world_size
