# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure trials per hour: a search against a process for each training.

Both train the same settings and validate. The search keeps its processes, and where
layers run before the first tuned tensor, what enters the tuned ones is computed once
for all trials (``PrefixCacheHook``). Writes OUT.json.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmengine import Config

from mmvpt.engine.run import load_config
from mmvpt.errors import UserError
from mmvpt.files import ROOT
from mmvpt.models.vit.prefix_cache import cacheable_layers
from mmvpt.registry import MODELS

from . import measure

_KEY = 'optim_wrapper.optimizer.lr'


def compare_trials(
    config: str,
    *,
    trials: int = 4,
    workers: int = 1,
    repeats: int = 2,
    cfg_options: Mapping[str, Any] | None = None,
    out: str = 'work_dirs/benchmark/trials',
) -> dict:
    """Train some learning rates in both ways, in turns.

    Args:
        config: A config whose data is at hand.
        trials: How many learning rates.
        workers: Trainings at the same time, in both ways.
        repeats: How often each way runs.
        cfg_options: Changes to the config, by dotted key.
        out: Result without suffix.

    Returns:
        What is in the file: seconds of both ways and trials per hour.

    Raises:
        UserError: If one of the commands fails.
    """
    loaded = load_config(config, dict(cfg_options or {}))
    result = dict(
        measure.begin('trials', dict(device='cpu', workers=workers)),
        trials=trials,
        layers=_layers(loaded),
    )
    rates = [1e-3 * (1 + k) for k in range(trials)]
    seconds: dict[str, list[float]] = {'processes': [], 'search': []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            commands = dict(
                processes=_processes(loaded, rates, folder),
                search=[_search(loaded, rates, folder, workers, result['layers'])],
            )
            for way, batch in commands.items():
                start = time.perf_counter()
                with ThreadPoolExecutor(workers) as pool:
                    list(pool.map(_run, batch))
                seconds[way].append(time.perf_counter() - start)
    hourly = {way: 3600 * trials / min(values) for way, values in seconds.items()}
    result.update(seconds=seconds, trials_per_hour=hourly)
    measure.write(result, out)
    ratios = sorted(a / b for a, b in zip(seconds['processes'], seconds['search']))
    print(
        f'{trials} trials, {workers} at a time, {result["layers"]} layers run once for '
        f'each image: {hourly["processes"]:.0f} trials per hour in processes of their '
        f'own, {hourly["search"]:.0f} in a search; ratios '
        f'{", ".join(f"{r:.2f}" for r in ratios)}.'
    )
    return result


def _layers(config: Config) -> int:
    """Count the layers whose results all trials share."""
    try:
        return cacheable_layers(
            MODELS.build(dict(config.model.backbone, init_cfg=None))
        )
    except UserError:
        return 0


def _processes(config: Config, rates: list[float], folder: str) -> list[list[str]]:
    file = f'{folder}/plain.py'
    config.dump(file)
    start = [sys.executable, str(ROOT / 'tools/train.py'), file]
    return [
        [*start, '--work-dir', f'{folder}/{k}', '--cfg-options', f'{_KEY}={rate}']
        for k, rate in enumerate(rates)
    ]


def _search(
    config: Config, rates: list[float], folder: str, workers: int, layers: int
) -> list[str]:
    config = copy.deepcopy(config)
    if layers:
        hook = dict(type='mmvpt.PrefixCacheHook', folder=f'{folder}/cache')
        config.custom_hooks = [*config.get('custom_hooks', ()), hook]
    file = f'{folder}/shared.py'
    config.dump(file)
    space = f'{folder}/space.py'
    Path(space).write_text(f'space = {{{_KEY!r}: {rates}}}\n')
    start = [sys.executable, str(ROOT / 'tools/search.py'), file, '--space', space]
    return [*start, '--workers', str(workers), '--out', f'{folder}/search']


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f'{" ".join(command)} failed:\n{done.stdout}{done.stderr}')
