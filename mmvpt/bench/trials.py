# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Jobs of a search: look at it before it starts, time it, run a trial."""

from __future__ import annotations

import os
import shutil
import socket
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from mmvpt.display import quiet
from mmvpt.engine.run import load_config, train
from mmvpt.errors import UserError

from . import describe_code, describe_config, get_protocol
from .console import console
from .hooks import Calibrated, CalibrationHook, ValidationHook
from .protocol_config import (
    config_digest,
    device_name,
    protocol_config,
    training_length,
)
from .space import check_keys


def inspect_search(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Check a search before it starts.

    Args:
        spec: As for :func:`run_trial`, and ``keys``, those that the space changes.

    Returns:
        The blocks ``protocol``, ``data`` and ``code`` of its record, and ``length`` and
        ``unit`` of a training.

    Raises:
        UserError: If the config lacks a key, has no validation split, or leaks.
    """
    with quiet():  # libraries print when they are imported late
        config = load_config(spec['config'], dict(spec['options']))
        check_keys(config, spec['keys'])
        protocol = get_protocol(spec['protocol'])
        data = protocol_config(config, spec, protocol, 'search')
        length, unit = training_length(config)
        return dict(
            protocol=describe_config(config, protocol, 'search', spec['seeds']),
            data=data,
            code=describe_code(),
            digest=config_digest(spec),
            device=device_name(),
            length=length,
            unit=unit,
        )


def _train(spec: Mapping[str, Any], stage: str, work_dir: Path, hook: Hook) -> None:
    """Train by the protocol, watched by a hook."""
    config = load_config(spec['config'], {**spec['options'], **spec['overrides']})
    protocol_config(config, spec, get_protocol(spec['protocol']), stage)
    if spec['interval']:
        config.train_cfg.val_interval = spec['interval']
    train(
        config,
        work_dir=work_dir,
        overwrite=True,
        built=lambda runner: runner.register_hook(hook, priority='LOWEST'),
    )


def run_trial(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Train with the settings of a trial and validate.

    Args:
        spec: ``config``, ``options``, ``overrides``, ``protocol``, ``metric``,
            ``seed``, ``work_dir``, ``slot``, ``attempt``, ``thresholds``, ``interval``
            (validations on the way, or None), ``accepted_duplicates``.

    Returns:
        ``state``, ``value``, ``steps`` and ``cost`` of the outcome, and ``seconds``.
    """
    watch = ValidationHook(spec['metric'], spec['thresholds'])
    start = time.monotonic()
    # An owner that was given up may still be writing to its folder.
    again = f'_again{spec["attempt"]}' if spec['attempt'] else ''
    state = 'complete'
    work_dir = Path(spec['work_dir']) / f'trial{spec["slot"]}{again}'
    with console(work_dir):
        try:
            _train(spec, 'search', work_dir, watch)
        except FloatingPointError:  # the loss is no number any more
            traceback.print_exc()
            state = 'diverged'
    if watch.stopped:
        state = 'pruned'
    value = watch.last if state == 'complete' else None
    if state == 'complete' and value is None:
        raise UserError(f'the validation gave no {spec["metric"]}: {watch.seen}')
    return dict(
        state=state,
        value=value,
        steps={} if state == 'diverged' else watch.steps,
        cost=watch.cost,
        seconds=time.monotonic() - start,
    )


def calibrate(spec: Mapping[str, Any]) -> float | None:
    """Estimate the seconds of a training from a few iterations of it.

    Args:
        spec: As for :func:`run_trial`, and perhaps ``stage``, 'search' or 'final'.

    Returns:
        The seconds with those until the first iteration; None where the loop has no
        iterations to time, or diverges at once.
    """
    # Commands that join one search may do this at the same time.
    owner = f'{socket.gethostname()}_{os.getpid()}'
    work_dir = Path(spec['work_dir']) / f'calibration_{owner}'
    hook = CalibrationHook()
    start = time.monotonic()
    with console(work_dir), suppress(Calibrated, FloatingPointError):
        _train(spec, spec.get('stage', 'search'), work_dir, hook)
    # After an error it stays, for its output. The log is open: network disks mind.
    shutil.rmtree(work_dir, ignore_errors=True)
    return hook.times[0] - start + hook.total if hook.total else None
