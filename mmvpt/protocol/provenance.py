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
# Arguments that choose a transform's result, see describe_config.
_SETTINGS = ('scale', 'crop_size', 'interpolation', 'backend', 'keep_ratio', 'prob')


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
        packages={names[0]: v for names in PACKAGES if (v := _version(names))},
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


def _version(names: tuple[str, ...]) -> str | None:
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
        seeds: The seeds of the final trainings.
    """
    splits = [_split(config, part) for part in ('train', 'val')]
    preprocessor = config.get('data_preprocessor') or config.model.get(
        'data_preprocessor', {}
    )
    keys = ('mean', 'std', 'to_rgb', 'bgr_to_rgb')
    reads = 'never' if stage == 'search' else 'once'
    if stage == 'final' and not protocol.leak_free:
        reads = 'every epoch'
    return dict(
        name=protocol.name,
        summary=protocol.summary,
        leak_free=protocol.leak_free,
        label=protocol.label,
        selection=protocol.selection,
        train_split=splits[0],
        search_splits=[str(s) for s in splits] if stage == 'search' else None,
        seeds=list(seeds),
        test_reads=reads,
        checkpoint=_checkpoint(config),
        normalisation={k: preprocessor[k] for k in keys if k in preprocessor},
        transforms={
            part: list(_transforms(loader['dataset']))
            for part in ('train', 'val')
            if (loader := config.get(f'{part}_dataloader'))
        },
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
    """Yield the transforms with the arguments that choose their result."""
    for item in dataset.get('pipeline') or (dataset.get('dataset') or {}).get(
        'pipeline', ()
    ):
        arguments = [f'{k}={item[k]}' for k in _SETTINGS if k in item]
        yield f'{item["type"]}({", ".join(arguments)})'
        yield from _transforms(dict(pipeline=item.get('transforms', ())))


def _checkpoint(config: Config) -> dict[str, str | None]:
    """Return name and sha256 of the pretrained weights."""
    init = (config.model.get('backbone') or {}).get('init_cfg') or {}
    name = init.get('checkpoint') if isinstance(init, Mapping) else None
    if not name:
        return dict(name=None, sha256=None)
    path = Path(resolve(name)).expanduser()
    if not path.is_file():  # of timm, or a URL
        return dict(name=str(name), sha256=None)
    state = path.stat()
    return dict(
        name=str(name), sha256=_sha256(path, (state.st_size, state.st_mtime_ns))
    )


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
