# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Release files, and stand-alone checkpoints for mmpretrain and mmseg."""

from __future__ import annotations

import copy
import hashlib
import io
import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from mmvpt.checkpoint import CheckpointError
from mmvpt.checkpoint.config_data import to_data
from mmvpt.checkpoint.meaning import check_meaning
from mmvpt.checkpoint.tuned import (
    META_KEY,
    TunedCheckpoint,
    collect,
    frozen_backbones,
    load_tuned,
    normalization,
    read_tuned,
    released,
    write_checkpoint,
)
from mmvpt.engine.run import load_config
from mmvpt.errors import UserError

from .load import build_model, load, read_for_config, trusted_config


def publish(
    checkpoint: str | os.PathLike,
    out: str | os.PathLike,
    config: str | os.PathLike | None = None,
) -> Path:
    """Write the file that others get: the tuned part, and what it means.

    Without the optimizer, logs, what only training reads (class means of DA-VPT), the
    folders of absolute paths, and keys of the config that say nothing about the model
    or its training. The frozen weights need not be there.

    Args:
        checkpoint: A checkpoint of training, tuned-only or full; with ``EMAHook`` its
            averaged weights are taken.
        out: A folder, or the file's name without ending. Eight digits of the file's
            SHA-256 and ``.safetensors`` are added.
        config: Its config, for a checkpoint that has none in it.

    Raises:
        CheckpointError: If the checkpoint is not one of this config.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    if config is not None:
        parsed = load_config(os.fspath(config))
        tuned = read_for_config(checkpoint)
        tuned = replace(tuned, config=to_data(parsed.to_dict()))
    else:
        tuned = read_tuned(checkpoint)
        parsed = trusted_config(tuned)
    try:
        model = build_model(parsed)
    except UserError as error:
        if config is not None or isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f'no model can be built from the config in {checkpoint}: {error}'
        ) from error
    if tuned.normalization is None:
        tuned = replace(tuned, normalization=normalization(model))
    if not tuned.frozen and frozen_backbones(model):
        tuned = _without_frozen(tuned, model)
    else:
        _check_names(tuned, model)
    tuned = released(tuned, model)
    if out.is_dir() or str(out).endswith(('/', os.sep)):
        out = out / checkpoint.stem
    content = tuned.to_bytes()
    digits = hashlib.sha256(content).hexdigest()[:8]
    path = out.with_name(f'{out.name}-{digits}.safetensors')
    write_checkpoint(path, content)
    return path


def _without_frozen(tuned: TunedCheckpoint, model: nn.Module) -> TunedCheckpoint:
    """Take the frozen weights out of a full checkpoint and note their fingerprint."""
    load_tuned(model, tuned)
    for path, backbone in frozen_backbones(model).items():
        backbone.positions_resized = path in tuned.training.get('resized', ())
    found = collect(model, {}, classes=tuned.classes, palette=tuned.palette)
    return replace(tuned, state=found.state, frozen=found.frozen)


def _check_names(tuned: TunedCheckpoint, model: nn.Module) -> None:
    """Make sure that tuned weights are those of the model, without frozen ones."""
    check_meaning(model, tuned.classes, tuned.palette)
    unknown = sorted(set(tuned.state) - set(model.state_dict()))
    if unknown:
        raise CheckpointError(
            f'the checkpoint has weights that the model of the config lacks: '
            f'{", ".join(unknown[:3])}. Give the config it was trained with.'
        )


def merge(
    checkpoint: str | os.PathLike,
    out: str | os.PathLike,
    weights: str | os.PathLike | None = None,
    config: str | os.PathLike | None = None,
) -> Path:
    """Write a full checkpoint: frozen and tuned weights in one file.

    Args:
        checkpoint: A release or a checkpoint of training.
        out: ``.pth``, which mmpretrain, mmseg and ``tools/test.py`` load, or
            ``.safetensors`` for ``mmvpt.load``.
        weights: The frozen weights, by default what the config names.
        config: Its config, for a checkpoint that has none in it.

    Raises:
        CheckpointError: If the ending is another, or the weights do not fit.
    """
    out = Path(out)
    if out.suffix not in ('.pth', '.safetensors'):
        raise CheckpointError(f'{out} must end in .pth or .safetensors.')
    if config is None:
        loaded = load(checkpoint, weights=weights, device='cpu')
        described = dict(loaded.tuned.config)
    else:
        parsed = load_config(os.fspath(config))
        loaded = load(parsed, weights=checkpoint, device='cpu')
        described = to_data(parsed.to_dict())
    tuned = loaded.tuned
    full = collect(
        loaded.model,
        {},
        classes=tuned.classes,
        palette=tuned.palette,
        training=tuned.training,
        with_frozen=True,
    )
    full = replace(full, config=without_init(described))
    if out.suffix == '.safetensors':
        full.save(out)
        return out
    meta = {
        'dataset_meta': dict(classes=full.classes, palette=full.palette),
        META_KEY: full.describe(),
    }
    buffer = io.BytesIO()
    state = {name: value.clone() for name, value in full.state.items()}
    torch.save(dict(state_dict=state, meta=meta), buffer)
    write_checkpoint(out, buffer.getvalue())
    return out


def without_init(config: dict) -> dict:
    """Return a config whose backbone takes no weights of its own."""
    config = copy.deepcopy(config)
    backbone = (config.get('model') or {}).get('backbone')
    if isinstance(backbone, dict):
        backbone.pop('init_cfg', None)
    return config


def write_config(checkpoint: str | os.PathLike, out: str | os.PathLike) -> None:
    """Write the config in a checkpoint as a file, for mmpretrain and mmseg.

    Args:
        checkpoint: A release, a merged checkpoint or one of training.
        out: ``.py``, ``.json`` or ``.yaml``.
    """
    config = trusted_config(read_tuned(checkpoint))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    config.dump(os.fspath(out))
