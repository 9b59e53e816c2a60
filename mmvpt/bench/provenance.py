# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Where a figure comes from: checkpoint, normalisation, transforms, code, packages."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size

from mmvpt.version import __version__
from mmvpt.weights import resolve

from .protocols import Protocol

#: Distributions of which a record keeps the version, under either name.
PACKAGES = (
    ('torch',),
    ('torchvision',),
    ('mmengine', 'onedl-mmengine'),
    ('mmcv', 'onedl-mmcv', 'mmcv-lite'),
    ('mmpretrain', 'onedl-mmpretrain'),
    ('mmsegmentation', 'onedl-mmsegmentation'),
    ('numpy',),
)
#: In place of a digest, where the weights have no file that could be read beforehand.
UNKNOWN = 'unknown'
# Loops that take a step for each batch, or for some of them with accumulation.
_LOOPS = (None, 'EpochBasedTrainLoop', 'IterBasedTrainLoop')


@functools.cache
def describe_code() -> dict[str, Any]:
    """Return the ``code`` block of a record: versions of code and packages."""
    root = Path(__file__).resolve().parents[2]
    commit = _git(root, 'rev-parse', 'HEAD')
    changes = _git(root, 'status', '--porcelain', '--untracked-files=no')
    return dict(
        version=__version__,
        commit=commit,
        modified=None if commit is None else bool(changes),
        packages={names[0]: v for names in PACKAGES if (v := installed(names))},
    )


def _git(root: Path, *args: str) -> str | None:
    if not (root / '.git').exists():
        return None
    try:
        done = subprocess.run(
            ['git', '-C', str(root), *args], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):  # no git, or not its repository
        return None
    return done.stdout.strip()


def installed(names: tuple[str, ...]) -> str | None:
    """Return name and version of the first of some distributions that is there."""
    for name in names:
        try:
            return f'{name} {metadata.version(name)}'
        except metadata.PackageNotFoundError:
            continue
    return None


def describe_config(
    config: Config, protocol: Protocol, stage: str, seeds: list[int]
) -> dict[str, Any]:
    """Return the ``protocol`` block of a record.

    Args:
        config: The config that runs, after ``apply_protocol``.
        protocol: The protocol.
        stage: 'search' or 'final'.
        seeds: The seeds of this command; those of the protocol may be more.
    """
    splits = [_split(config, part) for part in ('train', 'val')]
    preprocessor = config.get('data_preprocessor') or config.model.get(
        'data_preprocessor', {}
    )
    keys = ('mean', 'std', 'to_rgb', 'bgr_to_rgb')
    return dict(
        name=protocol.name,
        summary=protocol.summary,
        leak_free=protocol.leak_free,
        label=protocol.label,
        selection=protocol.selection,
        train_split=splits[0],
        search_splits=[str(s) for s in splits] if stage == 'search' else None,
        seeds=list(seeds),
        protocol_seeds=list(protocol.seeds),
        test_reads=protocol.test_reads(stage),
        train_batch=_train_batch(config),
        checkpoint=describe_checkpoint(config),
        normalisation={k: preprocessor[k] for k in keys if k in preprocessor},
        transforms={
            part: list(_transforms(loader['dataset']))
            for part in ('train', 'val')
            if (loader := config.get(f'{part}_dataloader'))
        },
    )


def _train_batch(config: Config) -> dict[str, int | None]:
    """Return how many images make an optimizer step."""
    batch = config.train_dataloader.get('batch_size')
    world = get_world_size()
    steps = int((config.get('optim_wrapper') or {}).get('accumulative_counts', 1))
    known = batch and config.train_cfg.get('type') in _LOOPS
    return dict(
        images_per_step=batch * world * steps if known else None,
        batch_size=batch,
        world_size=world,
        accumulation=steps,
    )


def _split(config: Config, part: str) -> str | None:
    loader = config.get(f'{part}_dataloader')
    if loader is None:
        return None
    dataset = loader['dataset']
    for key in ('split', 'ann_file', 'data_prefix', 'type'):
        if dataset.get(key):
            return str(dataset[key])
    return None


def _transforms(dataset: Mapping) -> Iterator[str]:
    """Yield the transforms with their arguments; inner ones follow theirs."""
    for item in dataset.get('pipeline') or (dataset.get('dataset') or {}).get(
        'pipeline', ()
    ):
        if isinstance(item, (list, tuple)):  # a branch, of RandomChoice for instance
            yield from _transforms(dict(pipeline=item))
            continue
        rest = {k: v for k, v in item.items() if k not in ('type', 'transforms')}
        yield f'{item["type"]}({", ".join(f"{k}={v}" for k, v in rest.items())})'
        yield from _transforms(dict(pipeline=item.get('transforms', ())))


def describe_checkpoint(config: Config) -> dict[str, str | None]:
    """Return name and sha256 of the pretrained weights.

    Returns:
        Both are None without such weights; the digest of a URL or a model of timm is
        ``UNKNOWN``, since they are fetched when the model is built.

    Raises:
        CheckpointError: If it is a known checkpoint that is not there.
    """
    init = (config.model.get('backbone') or {}).get('init_cfg') or {}
    init = init[0] if isinstance(init, (list, tuple)) else init
    name = init.get('checkpoint')
    if not name:
        return dict(name=None, sha256=None)
    path = Path(resolve(name)).expanduser()
    if not path.is_file():
        return dict(name=str(name), sha256=UNKNOWN)
    state = path.stat()
    digest = _sha256(path, (state.st_size, state.st_mtime_ns))
    return dict(name=str(name), sha256=digest)


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, _state: Any) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(2**22):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(*parts: Any) -> str:
    """Return a short digest of what JSON can hold."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
