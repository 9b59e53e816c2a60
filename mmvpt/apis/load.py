# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""From a file to a model that predicts."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmvpt.checkpoint import CheckpointError, read_checkpoint
from mmvpt.checkpoint.config_data import dicts
from mmvpt.checkpoint.names import without_prefix
from mmvpt.checkpoint.tuned import (
    META_KEY,
    TunedCheckpoint,
    load_tuned,
    read_tuned,
    unmarked,
)
from mmvpt.engine import checks
from mmvpt.engine.data_checks import compare_classes
from mmvpt.engine.run import load_config, replace_sync_bn
from mmvpt.weights.names import checkpoint_folder

from .tuned_model import TunedModel
from .vetting import vet

CONFIGS = ('.py', '.json', '.yaml', '.yml')


def load(
    path_or_config: str | os.PathLike | Config,
    weights: str | os.PathLike | None = None,
    device: str | torch.device | None = None,
) -> TunedModel:
    """Load a tuned model.

    Args:
        path_or_config: What ``tools/publish.py`` or ``tools/merge.py`` wrote, or a
            checkpoint of training; nothing in it is run. Or a config, which is run if
            it is a Python file.
        weights: With a checkpoint the frozen weights of its backbone
            (``mmvpt://NAME``, ``timm://NAME`` or a file), by default what its config
            names. With a config the checkpoint of that config.
        device: Where it runs, by default the GPU if there is one.

    Raises:
        CheckpointError: If a file is damaged, of a newer format, does not fit, or asks
            for what only a config may.
        FingerprintError: If the frozen weights are not those it was tuned on.
    """
    device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    given = isinstance(path_or_config, Config)
    if given or Path(path_or_config).suffix in CONFIGS:
        if weights is None:
            raise CheckpointError(
                f'{"this" if given else path_or_config} is a config; give the '
                'checkpoint too: mmvpt.load(CONFIG, weights=CHECKPOINT).'
            )
        if given:
            config = copy.deepcopy(path_or_config)
        else:
            config = load_config(str(path_or_config))
        tuned = read_for_config(weights)
        _check_classes(config, tuned, os.fspath(weights))
        return _build(config, tuned, device)
    tuned = read_tuned(path_or_config)
    config = trusted_config(tuned)
    if weights is not None:
        set_frozen_weights(config, os.fspath(weights))
    else:
        find_frozen_weights(config, Path(path_or_config).expanduser().parent)
    try:
        return _build(config, tuned, device)
    except (CheckpointError, ImportError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # classes fail in any way on values they do not expect
        raise CheckpointError(
            f'no model can be built from the config in {path_or_config}: '
            f'{type(error).__name__}: {error}'
        ) from error


def _check_classes(config: Config, tuned: TunedCheckpoint, weights: str) -> None:
    """Compare the names of classes that a config gives with those of its checkpoint."""
    data = (config.get('test_dataloader') or {}).get('dataset') or {}
    named = data.get('classes') or (data.get('metainfo') or {}).get('classes')
    if isinstance(named, (list, tuple)) and tuned.classes:
        known = list(map(str, tuned.classes))
        compare_classes(known, list(map(str, named)), weights, 'the config')


def _build(config: Config, tuned: TunedCheckpoint, device: torch.device) -> TunedModel:
    model = build_model(config, device)
    load_tuned(model, tuned)
    return TunedModel(model.to(device).eval(), config, tuned)


def trusted_config(tuned: TunedCheckpoint) -> Config:
    """Return the config in a checkpoint if it names only models and transforms.

    Raises:
        CheckpointError: If it names anything else.
        UserError: If it names parts of mmdetection, which is not installed.
    """
    config = tuned.build_config()
    checks.check_mmdetection(config)
    vet(config)
    return config


def build_model(config: Config, device: torch.device | str = 'cpu') -> nn.Module:
    """Build the model of a config, its weights still random.

    Args:
        config: With ``model`` and ``default_scope``; not changed.
        device: Where it will run: SyncBN becomes BN on the CPU.
    """
    config = copy.deepcopy(config)
    if config.get('model') is None:
        raise CheckpointError('the config has no model.')
    built = ('default_scope', 'model', 'data_preprocessor')
    checks.check(Config({key: config[key] for key in built if key in config}))
    if torch.device(device).type != 'cuda':
        replace_sync_bn(config)
    preprocessor = config.get('data_preprocessor')
    if preprocessor is not None:
        config.model.setdefault('data_preprocessor', preprocessor)
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        return MODELS.build(config.model)


def read_for_config(path: str | os.PathLike) -> TunedCheckpoint:
    """Read any checkpoint of the model of a config, of whatever origin."""
    path = os.fspath(path)
    content: dict = {}
    released = Path(path).suffix == '.safetensors' and Path(path).expanduser().is_file()
    if not released:
        content = read_checkpoint(path)
    meta = content.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    if released or META_KEY in meta:
        found = read_tuned(path)
        return replace(found, config={}, normalization=None, training={})
    state = content.get('state_dict', content)
    # Every model has this weight, and no prefix hides it then.
    state = without_prefix(state, ('backbone.patch_embed.projection.weight',))
    state, frozen = unmarked(state)
    data = meta.get('dataset_meta') or {}
    return TunedCheckpoint(state, frozen, {}, data.get('classes'), data.get('palette'))


def set_frozen_weights(config: Config, weights: str) -> None:
    """Change a config so that its backbone takes its frozen weights elsewhere."""
    for backbone in _backbones(config):
        backbone.init_cfg = ConfigDict(type='Pretrained', checkpoint=weights)


def find_frozen_weights(config: Config, folder: Path) -> None:
    """Look for frozen weights that are not where the config says, and note the place.

    A release names the file without its folder. It is looked for beside the release
    and where known checkpoints lie.
    """
    for backbone in _backbones(config):
        init_cfg = backbone.get('init_cfg')
        named = init_cfg.get('checkpoint') if isinstance(init_cfg, dict) else None
        if (
            not isinstance(named, str)
            or '://' in named
            or Path(named).expanduser().is_file()
        ):
            continue
        for place in (folder, checkpoint_folder()):
            found = place / Path(named).name
            if found.is_file():
                init_cfg.checkpoint = str(found)


def _backbones(config: Config) -> list[Any]:
    """Return the configs of our backbones, however deep in the model."""
    return [
        part
        for _, part in dicts(config.get('model'), 'model')
        if str(part.get('type')).endswith('PromptedVisionTransformer')
    ]
