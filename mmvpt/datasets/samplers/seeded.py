# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Samplers whose draws carry the seed of their augmentation."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sized

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmvpt.errors import UserError
from mmvpt.registry import DATA_SAMPLERS


class Draw(int):
    """An index that carries the seed of its augmentation.

    It is an ``int`` in every respect. The seed survives copying, pickling (so workers
    see it) and the shifts by which ``ConcatDataset`` and ``RepeatDataset`` turn an
    index into one of the wrapped dataset. A look-up in a table of indices, as in
    ``ClassBalancedDataset``, loses it.

    Args:
        index: The index.
        seed: The seed, 0..2**64-1.
    """

    seed: int

    def __new__(cls, index: int, seed: int) -> Draw:
        """Make ``index`` an int with a seed."""
        draw = super().__new__(cls, index)
        draw.seed = seed
        return draw

    def __getnewargs__(self) -> tuple[int, int]:
        return int(self), self.seed

    def __add__(self, other: int) -> Draw:
        return Draw(int(self) + other, self.seed)

    __radd__ = __add__

    def __sub__(self, other: int) -> Draw:
        return Draw(int(self) - other, self.seed)

    def __mod__(self, other: int) -> Draw:
        return Draw(int(self) % other, self.seed)


def draw_seed(seed: int, epoch: int, index: int) -> int:
    """Hash what identifies a draw into the seed of its augmentation.

    The same on every machine, process and Python version.

    Args:
        seed: The sampler's seed.
        epoch: The pass over the data, from 0.
        index: Index of the image.

    Returns:
        0..2**64-1.
    """
    text = f'{seed},{epoch},{int(index)}'.encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), 'little')


def one_pass(size: int, shuffle: bool, seed: int, epoch: int) -> list[int]:
    """Return the indices of one pass over the data, in order.

    Args:
        size: Number of images.
        shuffle: Permute them, by ``seed + epoch`` as mmengine's DefaultSampler does.
        seed: The sampler's seed.
        epoch: The pass, from 0.
    """
    if not shuffle:
        return list(range(size))
    generator = torch.Generator()
    generator.manual_seed(seed + epoch)
    return torch.randperm(size, generator=generator).tolist()


@DATA_SAMPLERS.register_module()
class SeededSampler(Sampler):
    """mmengine's ``DefaultSampler``, with draws that carry a seed.

    The order is that of ``DefaultSampler``: rank r of R takes the indices r, r + R, ...
    of the epoch's permutation. Each index is a :class:`Draw` whose seed depends on
    (``seed``, epoch, index) alone. With :class:`mmvpt.datasets.SeededTransforms` the
    augmented images are then the same for any number of workers or processes, and for
    a run that was resumed at the start of an epoch.

    ``seed`` comes from the runner, which draws it anew when ``randomness`` in the
    config has none: fix it there for runs that are to be resumed.

    Args:
        dataset: The dataset.
        shuffle: Permute the images, differently in each epoch.
        seed: Non-negative and equal on all ranks; None draws a common one.
        round_up: Repeat some images so that all ranks draw equally many.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.round_up = round_up
        self.epoch = 0

    def __iter__(self) -> Iterator[Draw]:
        """Yield this rank's draws of the epoch."""
        indices = one_pass(len(self.dataset), self.shuffle, self.seed, self.epoch)
        if self.round_up:
            total = math.ceil(len(indices) / self.world_size) * self.world_size
            indices = (indices * math.ceil(total / len(indices)))[:total]
        for index in indices[self.rank :: self.world_size]:
            yield Draw(index, draw_seed(self.seed, self.epoch, index))

    def __len__(self) -> int:
        """Return the number of draws of this rank."""
        missing = 0 if self.round_up else self.rank
        return math.ceil((len(self.dataset) - missing) / self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(Sampler):
    """Endless passes over the data, with draws that carry a seed.

    For iteration-based loops. The stream is the one of :class:`SeededSampler` in epoch
    0, 1, 2, ... without gaps; rank r of R takes its places r, r + R, ... A draw's seed
    depends on (``seed``, pass, index) alone. Iterating starts at the place that
    :meth:`skip` has set, so a resumed run sees what the uninterrupted one would have;
    mmengine's ``IterBasedTrainLoop`` calls it by itself.

    Args:
        dataset: The dataset.
        shuffle: Permute the images, differently in each pass.
        seed: Non-negative and equal on all ranks; None draws a common one.
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, seed: int | None = None
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.skipped = 0

    def __iter__(self) -> Iterator[Draw]:
        """Yield this rank's draws, without end."""
        size = len(self.dataset)
        place = self.rank + self.skipped * self.world_size
        epoch, start = divmod(place, size)
        while True:
            indices = one_pass(size, self.shuffle, self.seed, epoch)
            for index in indices[start :: self.world_size]:
                yield Draw(index, draw_seed(self.seed, epoch, index))
                place += self.world_size
            # A pass may hold no place of this rank, if there are more ranks than images
            epoch, start = divmod(place, size)

    def skip(self, num_samples: int) -> None:
        """Start the next iteration later in the stream.

        Costs nothing, whatever the number.

        Args:
            num_samples: Draws of this rank to leave out, counted from the start of the
                stream.

        Raises:
            UserError: If ``num_samples`` is negative.
        """
        if num_samples < 0:
            raise UserError(f'num_samples must not be negative, got {num_samples}.')
        self.skipped = num_samples

    def __len__(self) -> int:
        """Return the number of images, the length of one pass."""
        return len(self.dataset)
