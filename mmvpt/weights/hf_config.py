# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What ``config.json`` of Hugging Face says about weights and no weight tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.fileio import load

from mmvpt.checkpoint import CheckpointError

from .normalization import Normalization

#: ``families`` of the kinds of models that are read; ``whole``: kinds that hold one of
#: these beside a text tower, under ``vision_config``; ``activations``, null for that of
#: SwiGLU, which the weights tell; ``defaults`` of transformers, for a config inside of
#: another; ``numbers``: what these are called in a config.
TABLE = load(str(Path(__file__).with_suffix('.yml')))


def read_config(folder: Path) -> dict[str, Any]:
    """Read the facts in a folder as Hugging Face distributes it.

    Returns:
        ``family``, ``num_heads``, ``norm_eps``, ``activation``, ``normalization`` and
        the like; empty without a ``config.json`` of transformers.
    """
    facts: dict[str, Any] = {}
    images = _read(folder / 'preprocessor_config.json')
    if images.get('image_mean') and images.get('image_std'):
        facts['normalization'] = Normalization.of_unit_range(
            images['image_mean'], images['image_std']
        )
    path = folder / 'config.json'
    config = _read(path)
    kind = config.get('model_type')
    if kind is None:
        return facts
    if 'vision_config' in config:
        kind = config['vision_config'].get('model_type', TABLE['whole'].get(kind))
        config = config['vision_config']
    if kind not in TABLE['families']:
        known = [*TABLE['families'], *TABLE['whole']]
        raise CheckpointError(
            f'{path} is of a model of type {kind!r}; types that are read are '
            f'{", ".join(known)}. If its weights are those of one of '
            'the families, give the file with the weights, elsewhere, and --family.'
        )
    return {**facts, **_facts(config, kind, path)}


def _facts(config: Mapping, kind: str, path: Path) -> dict[str, Any]:
    config = {**TABLE['defaults'].get(kind, {}), **config}
    act = config.get('hidden_act')
    theta = config.get('rope_theta') or config.get('rope_parameters', {}).get(
        'rope_theta'
    )
    refused = {
        'hidden_act': act is not None and act not in TABLE['activations'],
        'rope_theta': theta not in (None, 100, 100.0),
        'key_bias': kind == 'dinov3_vit' and bool(config.get('key_bias')),
    }
    for key, wrong in refused.items():
        if wrong:
            raise CheckpointError(
                f'{path} has {key}={config.get(key, theta)!r}, which the backbone '
                'cannot have.'
            )
    facts: dict[str, Any] = {
        name: config[key] for key, name in TABLE['numbers'].items() if key in config
    }
    if config.get('use_swiglu_ffn'):
        facts.pop('feedforward_channels', None)  # the weights have two thirds of it
    if kind.startswith('dinov2') and not config.get('use_swiglu_ffn'):
        facts['feedforward_channels'] = int(
            config['hidden_size'] * config.get('mlp_ratio', 4)
        )
    facts.update(
        family=TABLE['families'][kind],
        norm_eps=config.get('layer_norm_eps'),
        activation=TABLE['activations'].get(str(act)),
    )
    size, patch = config.get('image_size'), config.get('patch_size')
    if size and patch and kind not in ('dinov3_vit', 'siglip2_vision_model'):
        sides = [size, size] if isinstance(size, int) else size
        facts['grid'] = tuple(side // patch for side in sides)
    return {key: value for key, value in facts.items() if value is not None}


def _read(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise CheckpointError(f'{path} is damaged: {error}. Fetch it again.') from None
    return content if isinstance(content, dict) else {}
