# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Test images must not train or select: compared image by image, before a run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner

from mmvpt.errors import UserError

from .protocols import Protocol

#: Fields of a config that hold the data of a stage.
LOADERS = dict(train='train_dataloader', val='val_dataloader', test='test_dataloader')
_TEST_FIELDS = ('test_dataloader', 'test_evaluator', 'tta_pipeline')
# What a dict has that is a data set, besides its type.
_DATASET_KEYS = ('data_root', 'ann_file', 'data_prefix', 'split')


class Image(NamedTuple):
    """An image that a data set lists."""

    name: str  # what identifies it: its real path, or a digest of its pixels
    label: str
    bytes: int  # of the image, and of its label map if it has one


class LeakError(UserError):
    """Test data would train or choose something under a leak-free name."""


def inspect_data(
    config: Config,
    protocol: Protocol,
    stage: str,
    before: Mapping[str, Any],
    accepted_duplicates: int = 0,
) -> dict[str, Any]:
    """Compare the images that train, validate and test.

    Args:
        config: The config as it will run, after ``apply_protocol``.
        protocol: The protocol that it will be recorded under.
        stage: 'search' or 'final'.
        before: The ``test_dataloader`` as it was before ``apply_protocol``.
        accepted_duplicates: So many training or validation images may be equal, byte
            by byte, to test images under another name. Recorded.

    Returns:
        The ``data`` block of a record: number and digest of the images of each part,
        the overlaps between parts, and the byte-equal images.

    Raises:
        LeakError: If test data would train or choose, or validation data trains.
    """
    parts = list_images(config, before)
    if not parts['train']:
        raise LeakError('the config has no training images to compare with test')
    found = {name: _names(images) for name, images in parts.items()}
    test = found['test']
    with _scope(config):
        for place, images in _elsewhere(config):
            _refuse(
                len(_names(images) & test),
                f'{place} reads test images outside of the test at the end',
            )
    shared = {
        'train_test': len(found['train'] & test),
        'val_test': len(found['val'] & test),
        'train_val': len(found['train'] & found['val']),
    }
    chosen = stage == 'final' and protocol.selection == 'best-test'
    _refuse(shared['train_test'], 'the training data holds test images')
    if not chosen:
        _refuse(
            shared['val_test'],
            f'validation reads test images, so that {_chosen_by(config)} are chosen by '
            f'test data, which protocol {protocol.name!r} rules out',
        )
    _refuse(
        shared['train_val'] if not chosen and parts['val'] else 0,
        'validation images train, so that validation tells nothing',
    )
    choosing = found['train'] | (set() if chosen else found['val'])
    duplicates = count_copies(choosing, test)
    if duplicates > accepted_duplicates:
        raise LeakError(
            f'{duplicates} training or validation images are copies of test images, '
            f'byte by byte ({accepted_duplicates} are accepted). Remove them from the '
            'lists, or accept them with --accept-duplicates, which is recorded.'
        )
    return dict(
        **summarize(parts),
        overlaps=shared,
        duplicates=duplicates,
        accepted_duplicates=accepted_duplicates,
    )


def list_images(config: Config, before: Mapping[str, Any]) -> dict[str, list[Image]]:
    """List the images of each part.

    Args:
        config: The config, after ``apply_protocol``.
        before: The ``test_dataloader`` as it was before ``apply_protocol``.

    Returns:
        The images of 'train', 'val' and 'test'.
    """
    loaders = {part: config.get(LOADERS[part]) for part in ('train', 'val')}
    loaders['test'] = before.get('test_dataloader')
    with _scope(config):
        return {part: list(_images(loader)) for part, loader in loaders.items()}


def summarize(parts: Mapping[str, list[Image]]) -> dict[str, dict[str, Any] | None]:
    """Return number, digest and size of the images of each part, None without any.

    In the digest names and labels count, not folders.
    """
    found: dict[str, dict[str, Any] | None] = dict.fromkeys(parts)
    for part, images in parts.items():
        digest = hashlib.sha256()
        for image in sorted(images):
            name = _without_root(image.name)
            digest.update(f'{name}\0{image.label}\n'.encode())
        if images:
            size = sum(image.bytes for image in images)
            found[part] = dict(
                images=len(images), sha256=digest.hexdigest(), bytes=size
            )
    return found


def refuse_other_draws(
    config: Config, others: Iterable[Config], accepted_duplicates: int = 0
) -> None:
    """Refuse a search on images that are tested with another seed.

    Args:
        config: The config of the search, after ``apply_protocol``.
        others: The config with the data of each other seed, as it is.
        accepted_duplicates: So many images may be equal, byte by byte, to test images
            under another name.

    Raises:
        LeakError: If the settings would be chosen with test images of another seed.
    """
    with _scope(config):
        choosing = {
            name
            for part in ('train', 'val')
            for name in _names(_images(config.get(LOADERS[part])))
        }
        for other in others:
            test = _names(_images(other.get('test_dataloader')))
            same = choosing & test
            copies = count_copies(choosing - test, test)
            if same or copies > accepted_duplicates:
                raise LeakError(
                    f'{len(same) + copies} training or validation images of the search '
                    'are test images with another seed, and the settings that it '
                    'chooses serve all seeds. Give each seed a benchmark of its own '
                    '(--seeds N, another --out), which searches on the data of that '
                    'seed alone, or data whose test images no seed trains on.'
                )


def _scope(config: Config) -> AbstractContextManager:
    scope = config.get('default_scope') or 'mmengine'
    return DefaultScope.overwrite_default_scope(scope)


def _names(images: Iterable[Image]) -> set[str]:
    return {image.name for image in images}


def _refuse(count: int, what: str) -> None:
    if count:
        raise LeakError(
            f'{what} ({count} images). Correct the lists or the config; to replicate a '
            "paper that selects on test use protocol 'davpt-paper', whose figures are "
            'labelled everywhere.'
        )


def _chosen_by(config: Config) -> str:
    """Name what the validation chooses in this config."""
    names = ['settings']
    hooks = config.get('default_hooks') or {}
    if (hooks.get('checkpoint') or {}).get('save_best'):
        names.append('the epoch (save_best)')
    custom = config.get('custom_hooks') or []
    if any('EarlyStopping' in str(hook.get('type')) for hook in custom):
        names.append('the end of training (EarlyStoppingHook)')
    return ' and '.join(names)


def _images(loader: Any) -> Iterator[Image]:
    """Yield the images that a data loader's config names."""
    if loader is not None:
        for leaf in _leaves(loader['dataset']):
            yield from _listed(leaf)


def _leaves(dataset: Mapping) -> Iterator[Mapping]:
    """Yield the data sets inside of wrappers such as ConcatDataset."""
    inner = dataset.get('datasets', dataset.get('dataset'))
    if inner is None:
        yield dataset
        return
    for item in [inner] if isinstance(inner, Mapping) else inner:
        yield from _leaves(item)


def _listed(leaf: Mapping) -> Iterator[Image]:
    config = ConfigDict(leaf)
    if 'cache_images' in config:
        config.cache_images = False
    config.pipeline, config.lazy_init = [], True
    dataset = DATASETS.build(config)
    dataset.serialize_data = False  # it would collect all garbage of the process
    dataset.full_init()
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        masks = info.get('seg_map_path')
        label = str(info.get('gt_label', _without_root(masks or '')))
        size = _size(masks)
        if 'img_path' in info:
            path = os.path.realpath(info['img_path'])
            yield Image(path, label, size + _size(path))
        elif 'img' in info:
            pixels = bytes(info['img'])
            name = hashlib.sha256(pixels).hexdigest()
            yield Image(name, label, size + len(pixels))
        else:
            raise LeakError(
                f'cannot tell which images {config["type"]} reads: its entries have '
                f'neither img_path nor img, but {sorted(info)}'
            )


def _without_root(path: str) -> str:
    """Return folder and name of a file, which stay when a data set moves."""
    return '/'.join(path.split(os.sep)[-2:])


def _size(path: str | None) -> int:
    """Return the size of a file, 0 if there is none; the run will name what lacks."""
    return os.path.getsize(path) if path and os.path.isfile(path) else 0


def _elsewhere(config: Config) -> Iterator[tuple[str, list[Image]]]:
    """Yield data sets in hooks, loops and models, with the place they are in.

    Of fields that a runner builds something from: others, such as the ``files =
    dict(...)`` from which a config makes its data sets, are notes to itself. A runner
    of another type may read anything.
    """
    own = 'runner_type' in config
    fields = config if own else signature(Runner.__init__).parameters
    skipped = (*LOADERS.values(), *_TEST_FIELDS)

    def walk(value: Any, place: str) -> Iterator[tuple[str, list[Image]]]:
        if isinstance(value, Mapping):
            if 'type' in value and any(key in value for key in _DATASET_KEYS):
                yield place, list(_listed(value))
                return
            for key, item in value.items():
                yield from walk(item, f'{place}.{key}')
        elif isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                yield from walk(item, f'{place}.{i}')

    for field in fields:
        if field in config and field not in skipped:
            yield from walk(config[field], field)


def count_copies(choosing: Iterable[str], test: Iterable[str]) -> int:
    """Count files that have the same bytes as a test file under another name.

    Sizes are compared first, so that few files are read.

    Args:
        choosing: Paths of images that train or validate.
        test: Paths of test images.
    """

    def sizes_of(paths: Iterable[str]) -> dict[str, int]:
        return {path: os.path.getsize(path) for path in paths if os.path.isfile(path)}

    ours, theirs = sizes_of(choosing), sizes_of(test)
    both = {*ours.values()} & {*theirs.values()}
    digests = {_digest(path) for path, size in theirs.items() if size in both}
    return sum(_digest(path) in digests for path, size in ours.items() if size in both)


def _digest(path: str) -> bytes:
    return hashlib.sha256(Path(path).read_bytes()).digest()
