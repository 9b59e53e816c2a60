# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Images in arrays: CIFAR-100, SVHN, Patch Camelyon, dSprites, smallNORB."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from mmvpt.datasets.prepare.formats import (
    hdf5_arrays,
    open_hdf5,
    read_mat,
    read_norb,
    read_npz,
    read_pickle,
)
from mmvpt.datasets.prepare.images import png
from mmvpt.datasets.prepare.source import Source
from mmvpt.datasets.prepare.task import Item, Pools, RefusedError, Task

CIFAR_ROW = 2 + 3072  # coarse label, fine label, 32x32 pixels in three planes


def _items(
    part: str,
    images: np.ndarray,
    labels: Iterable[int],
    key: str = '{}',
    scale: int = 1,
) -> list[Item]:
    """Return items that encode rows of ``images``, (n, H, W[, 3]), as PNG."""

    def reader(index: int) -> Callable[[], bytes]:
        return lambda: png(images[index] * scale)

    return [
        Item(key.format(i), f'{part}_{i:06d}.png', int(label), reader(i))
        for i, label in enumerate(labels)
    ]


def _same_length(name: str, images: np.ndarray, labels: np.ndarray) -> None:
    if len(images) != len(labels):
        raise RefusedError(
            f'{name}: {len(images)} images, {len(labels)} labels. Download it again.'
        )


def parse_cifar(source: Source, task: Task) -> Pools:
    """Read CIFAR-100, the 'python' or 'binary' version, with the fine labels."""
    binary = source.has('train.bin')
    items: dict[str, list[Item]] = {}
    for part in ('train', 'test'):
        if binary:
            name = source.locate(f'{part}.bin')
            rows = np.frombuffer(source.read(name), np.uint8)
            if len(rows) % CIFAR_ROW:
                raise RefusedError(f'{name!r} is truncated. Download it again.')
            rows = rows.reshape(-1, CIFAR_ROW)
            labels, data = rows[:, 1], rows[:, 2:]
        else:
            name = source.root('cifar-100-python/train') + f'cifar-100-python/{part}'
            content = read_pickle(source.read(name), name)
            if not {'data', 'fine_labels'} <= content.keys():
                raise RefusedError(f'{name!r} lacks data or fine_labels.')
            labels, data = np.asarray(content['fine_labels']), content['data']
            if getattr(data, 'ndim', 0) != 2 or data.shape[1] != 3072:
                raise RefusedError(f'{name!r}: data is not an (n, 3072) array.')
        _same_length(name, data, labels)
        images = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        items[part] = _items(part, images, labels)
    return Pools(items, 'official CIFAR-100 archive')


def parse_svhn(source: Source, task: Task) -> Pools:
    """Read SVHN, cropped digits: ``{train,test}_32x32.mat``. The label 10 means 0."""
    items: dict[str, list[Item]] = {}
    for part in ('train', 'test'):
        name = source.locate(f'{part}_32x32.mat')
        images, labels = read_mat(source, name, 'X', 'y')
        if images.ndim != 4 or labels.min() < 1 or labels.max() > 10:
            raise RefusedError(
                f'{name!r}: X has shape {images.shape}, labels {labels.min()}.. '
                f'{labels.max()}; expected (32, 32, 3, n) and 1..10.'
            )
        images = images.transpose(3, 0, 1, 2)
        _same_length(name, images, labels)
        items[part] = _items(part, images, labels % 10)
    return Pools(items, 'official SVHN files', [str(digit) for digit in range(10)])


def parse_camelyon(source: Source, task: Task) -> Pools:
    """Read Patch Camelyon: ``camelyonpatch_level_2_split_{part}_{x,y}.h5``."""
    items: dict[str, list[Item]] = {}
    for part, short in (('train', 'train'), ('validation', 'valid'), ('test', 'test')):
        stem = f'camelyonpatch_level_2_split_{short}'
        names = [source.locate(f'{stem}_{kind}.h5') for kind in 'xy']
        (labels,) = hdf5_arrays(source.file(names[1]), names[1], 'y')
        # Images stay in the file: 262,144 of them take 7 GB.
        images = open_hdf5(source.file(names[0]), names[0])
        if 'x' not in images:
            raise RefusedError(f'{names[0]!r} has no images x. Download it again.')
        labels = labels.reshape(-1)
        _same_length(names[0], images['x'], labels)
        items[part] = _items(short, images['x'], labels, key=f'{short}_{{}}')
    return Pools(items, 'official Patch Camelyon files', ['normal', 'tumor'])


def parse_dsprites(source: Source, task: Task) -> Pools:
    """Read dSprites, npz or hdf5. A label is a latent class in 16 equal bins.

    ``task.options['latent']`` is (column, number of its values): orientation (3, 40),
    x position (4, 32). Pixels 0 and 1 become 0 and 255.
    """
    column, values = task.options['latent']
    stem = 'dsprites_ndarray_co1sh3sc6or40x32y32_64x64'
    if source.has(f'{stem}.npz'):
        name = source.locate(f'{stem}.npz')
        images, latents = read_npz(source.file(name), name, 'imgs', 'latents_classes')
    else:
        name = source.locate(f'{stem}.hdf5')
        images, latents = hdf5_arrays(
            source.file(name), name, 'imgs', 'latents/classes'
        )
    _same_length(name, images, latents)
    labels = latent_bins(latents[:, column], values)
    return Pools(
        {'train': _items('train', images, labels, scale=255)},
        'official dSprites file',
    )


def latent_bins(values: np.ndarray, num_values: int, bins: int = 16) -> np.ndarray:
    r"""Group the ``num_values`` classes of a latent into equal bins.

    .. math:: label = \lfloor value / (num\_values / bins) \rfloor

    Args:
        values: Latent classes, (n,), from 0.
        num_values: Number of latent classes.
        bins: Number of labels.
    """
    return np.floor_divide(values.astype(np.float64), num_values / bins).astype(int)


def parse_norb(source: Source, task: Task) -> Pools:
    """Read smallNORB: ``smallnorb-*-{training,testing}-{dat,cat,info}.mat``.

    Images are those of the first camera. A label is elevation, 0..8, or azimuth,
    (0, 2, ... 34) / 2, as ``task.options['column']`` of the info file says.
    """
    items: dict[str, list[Item]] = {}
    for part, long in (('train', 'training'), ('test', 'testing')):
        arrays = []
        for kind in ('dat', 'info'):
            name = source.locate(f'smallnorb-*-{long}-{kind}.mat')
            arrays.append(read_norb(source.read(name), name))
        images, info = arrays
        if images.ndim != 4 or images.shape[1] != 2 or info.ndim != 2:
            raise RefusedError(
                f'smallNORB {long}: shapes {images.shape} and {info.shape}, expected '
                '(n, 2, 96, 96) and (n, 4).'
            )
        _same_length(f'smallNORB {long}', images, info)
        labels = norb_labels(info, task.options['column'])
        items[part] = _items(part, images[:, 0], labels)
    return Pools(items, 'official smallNORB files')


def norb_labels(info: np.ndarray, column: str) -> np.ndarray:
    """Return labels from smallNORB's info, (n, 4): instance, elevation, azimuth, light.

    Args:
        info: The info array.
        column: 'elevation' (9 classes) or 'azimuth' (18 classes).
    """
    return info[:, 1] if column == 'elevation' else info[:, 2] // 2
