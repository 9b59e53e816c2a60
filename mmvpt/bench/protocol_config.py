# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A config as a stage of a protocol runs it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config

from mmvpt.engine.guidance.class_pass import eval_pipeline
from mmvpt.engine.loops import ConvergedProbeLoop
from mmvpt.engine.run import load_config
from mmvpt.errors import UserError

from . import (
    Protocol,
    apply_protocol,
    describe_checkpoint,
    get_protocol,
    inspect_data,
    list_images,
    refuse_other_draws,
    summarize,
)
from .provenance import fingerprint
from .space import refuse_test_keys


def protocol_config(
    config: Config, spec: Mapping[str, Any], protocol: Protocol, stage: str
) -> dict[str, Any]:
    """Give a config its seed and data, and look for leaks on what then runs.

    Args:
        config: Changed in place.
        spec: ``config``, ``options``, ``seed``, ``metric``, ``accepted_duplicates``;
            ``overrides`` of a trial or ``settings`` of a final run, which must be in
            the config; ``draws`` of a search, the options of each seed.
        protocol: The protocol.
        stage: 'search' or 'final'.

    Returns:
        The ``data`` block of the record.

    Raises:
        ValueError: If the protocol does not fit, or test data would choose something.
    """
    before = _apply(config, spec, protocol, stage)
    accepted = spec['accepted_duplicates']
    data = inspect_data(config, protocol, stage, before, accepted)
    if stage == 'search':
        draws = [draw for draw in spec.get('draws', ()) if draw != spec['options']]
        others = (load_config(spec['config'], dict(draw)) for draw in draws)
        refuse_other_draws(config, others, accepted)
    return data


def _apply(
    config: Config, spec: Mapping[str, Any], protocol: Protocol, stage: str
) -> dict[str, Any]:
    """Give a config its seed and data; return the test data that it had."""
    refuse_test_keys({**spec.get('overrides', {}), **spec.get('settings', {})})
    if 'randomness.seed' not in spec.get('overrides', {}):  # a space may vary it
        randomness = config.get('randomness') or {}
        config.randomness = dict(randomness, seed=spec['seed'])
    before = dict(test_dataloader=copy.deepcopy(config.get('test_dataloader')))
    if before['test_dataloader'] is None and stage == 'final':
        raise UserError(f'{spec["config"]} has no test_dataloader to report on')
    loaders = (config.get('val_dataloader'), config.get('test_dataloader'))
    if ConvergedProbeLoop.__name__ in str(config.train_cfg.get('type')):
        # while the configs are there that say how images are evaluated
        train = ConvergedProbeLoop.for_evaluation(config.train_dataloader, *loaders)
        config.train_dataloader = train
    # for hooks that look at training images as evaluation does
    config.eval_pipeline = eval_pipeline(*loaders)
    apply_protocol(config, protocol, stage, spec['metric'])
    return before


def files_of_run(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Describe what a final run reads besides its config: weights and images."""
    config = load_config(spec['config'], {**spec['options'], **spec['settings']})
    before = _apply(config, spec, get_protocol(spec['protocol']), 'final')
    return dict(
        checkpoint=describe_checkpoint(config)['sha256'],
        **summarize(list_images(config, before)),
    )


def training_length(config: Config) -> tuple[int, str]:
    """Return the length of a training and its unit."""
    loop = config.train_cfg
    if loop.get('max_iters') and not loop.get('max_epochs'):
        return int(loop.max_iters), 'iterations'
    return int(loop.get('max_epochs') or 1), 'epochs'


def config_digest(spec: Mapping[str, Any]) -> str:
    """Return a digest of the config with its options, whatever files it came from."""
    config = load_config(spec['config'], dict(spec['options']))
    return fingerprint(config._cfg_dict.to_dict())


def device_name() -> str:
    """Return what trains."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'
