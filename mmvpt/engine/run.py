# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Training and testing a config: what every tool, search and notebook calls."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import mmengine
import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmvpt.checkpoint import use_safe_loading
from mmvpt.checkpoint.config_data import dicts
from mmvpt.datasets import LabelMaps
from mmvpt.errors import UserError, explain, run_tool
from mmvpt.models.seg import check_queries

from . import checks
from .check_rules import check_runner
from .config_file import load_config, merge_options, named_config
from .data_checks import check_run, image_paths, name_files
from .distributed import distributed, process_rank
from .forward import unwrapped
from .run_config import add_hook, require, testing_config, training_config
from .work_dir import clear_for_fresh_run, last_checkpoint, lock_work_dir

__all__ = ['explain', 'load_config', 'run_tool', 'test', 'train']

PICKLES = ('.pkl', '.pickle')


def train(
    config: str | os.PathLike | Config,
    *,
    cfg_options: Mapping[str, Any] | None = None,
    resume: bool | str | os.PathLike = False,
    overwrite: bool = False,
    launcher: str = 'none',
    local_rank: int = 0,
    trust_checkpoint: bool = False,
    built: Callable[[Runner], object] | None = None,
    **options: Any,
) -> Runner:
    """Train a config of mmpretrain's or mmsegmentation's scope.

    Args:
        config: A config or its file.
        cfg_options: Changes to it, by dotted key.
        resume: Continue from this checkpoint; with True or 'auto', as --resume without
            PATH, from the last one in the work dir, or from the start if there is none.
        overwrite: Start afresh and delete the checkpoints of an earlier run in the work
            dir.
        launcher: What started the processes: 'none', 'pytorch', 'slurm' or 'mpi'.
        local_rank: Rank of this process on its machine.
        trust_checkpoint: Run code that a checkpoint holds. Only for files whose maker
            you know; MMVPT_TRUST_CHECKPOINT=1 does the same.
        built: Called with the runner before it trains.
        **options: Those of :func:`training_config`.

    Returns:
        The runner after training.

    Raises:
        UserError: If the config, the data, the work dir or the checkpoint cannot be
            used as given.
    """
    if resume and overwrite:
        raise UserError('overwrite deletes what resume continues; give one of them')
    use_safe_loading(trust_checkpoint)
    config = training_config(_loaded(config, cfg_options), **options)
    require(config, 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    checks.check(config)
    is_first = process_rank(launcher) == 0
    lock = lock_work_dir(config.work_dir) if is_first else contextlib.nullcontext()
    with lock:
        _set_start(config, resume, overwrite, is_first)
        with distributed(config, launcher, local_rank), _mistakes_explained():
            runner = build_runner(config)
            check_run(runner)
            if built is not None:
                built(runner)
            check_runner(runner)
            for loop in filter(None, (runner.train_loop, runner.val_loop)):
                name_files(getattr(loop.dataloader, 'dataset', None))
            try:
                runner.train()
            except KeyboardInterrupt as interrupt:
                raise KeyboardInterrupt('continue with --resume') from interrupt
    return runner


def test(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike,
    *,
    cfg_options: Mapping[str, Any] | None = None,
    out: str | os.PathLike | None = None,
    out_item: str | None = None,
    launcher: str = 'none',
    local_rank: int = 0,
    trust_checkpoint: bool = False,
    built: Callable[[Runner], object] | None = None,
    **options: Any,
) -> dict[str, float]:
    """Test a checkpoint with a config of mmpretrain's or mmsegmentation's scope.

    Args:
        config: A config or its file.
        checkpoint: File or URL.
        cfg_options: Changes to the config, by dotted key.
        out: File for predictions (.pkl) or metrics (.json); with mmseg and predictions
            a folder for label maps.
        out_item: What goes to ``out``: 'pred' (the default) or 'metrics'.
        launcher: What started the processes: 'none', 'pytorch', 'slurm' or 'mpi'.
        local_rank: Rank of this process on its machine.
        trust_checkpoint: Run code that the checkpoint holds. Only for files whose maker
            you know; MMVPT_TRUST_CHECKPOINT=1 does the same.
        built: Called with the runner before it tests.
        **options: Those of :func:`testing_config`.

    Returns:
        The metrics.

    Raises:
        UserError: If the config, the data or the checkpoint cannot be used as given.
    """
    use_safe_loading(trust_checkpoint)
    config = testing_config(_loaded(config, cfg_options), checkpoint, **options)
    require(config, 'model')
    dumps = _set_out(config, out, out_item)
    checks.check(config)
    with distributed(config, launcher, local_rank), _mistakes_explained():
        runner = build_runner(config)
        check_run(runner)
        if dumps and not str(out).endswith(PICKLES):
            maps = LabelMaps(str(out), image_paths(config, 'test'))
            runner.test_evaluator.metrics.append(maps)
        elif dumps:
            runner.test_evaluator.metrics.append(DumpResults(out_file_path=str(out)))
        if built is not None:
            built(runner)
        name_files(runner.test_loop.dataloader.dataset)
        metrics = runner.test()
        if out_item == 'metrics' and is_main_process():
            mmengine.dump(metrics, str(out))
    return metrics


def build_runner(config: Config) -> Runner:
    """Build the runner; without a GPU ``SyncBN`` of the config becomes ``BN``."""
    replaced = 0 if torch.cuda.is_available() else replace_sync_bn(config)
    build = RUNNERS.build if 'runner_type' in config else Runner.from_cfg
    runner = build(config)
    check_queries(unwrapped(runner.model))
    if replaced:
        runner.logger.warning(
            f'No GPU: {replaced} SyncBN of the model became BN. Each process '
            'normalises with its own images.'
        )
    return runner


def replace_sync_bn(config: Config) -> int:
    """Turn every ``SyncBN`` of the model into ``BN``, which runs without a GPU.

    Statistics are then those of each process. The names of weights are the same, so
    checkpoints fit both. Norms that a class has by default and no config names stay.

    Returns:
        How many were replaced.
    """
    parts = dicts(config.get('model'), 'model')
    found = [part for _, part in parts if part.get('type') == 'SyncBN']
    for part in found:
        part['type'] = 'BN'
    return len(found)


def _loaded(
    config: str | os.PathLike | Config, options: Mapping[str, Any] | None
) -> Config:
    """Read a config, or copy the one that is given, and merge options into it."""
    if isinstance(config, Config):
        config = named_config(config)
        merge_options(config, dict(options or {}))
    else:
        config = load_config(config, dict(options or {}))
    checks.check_fields(config)
    return config


@contextlib.contextmanager
def _mistakes_explained() -> Iterator[None]:
    """Word what a class says to the values that the config gives it."""
    try:
        yield
    except Exception as error:
        mistake = None if isinstance(error, UserError) else checks.explain(error)
        if mistake is None:
            raise
        raise UserError(mistake) from error


def _set_start(
    config: Config, resume: bool | str | os.PathLike, overwrite: bool, is_first: bool
) -> None:
    """Decide what the run starts from, and refuse to mix it with an earlier run."""
    if resume in (True, 'auto'):
        last = last_checkpoint(config.work_dir)
        if last is None:
            print_log(f'{config.work_dir} holds no checkpoint: starting afresh')
        config.resume = last is not None
        if last is not None:
            config.load_from = str(last)
    elif resume:
        config.resume, config.load_from = True, str(resume)
    if config.get('resume'):
        add_hook(config, 'mmvpt.CompleteWeightsHook')
        add_hook(config, 'mmvpt.ResumeHook')
        return
    if config.get('load_from'):
        add_hook(config, 'mmvpt.CompleteWeightsHook')
    if is_first:
        clear_for_fresh_run(config.work_dir, overwrite)


def _set_out(config: Config, out: str | os.PathLike | None, item: str | None) -> bool:
    """Check ``out`` and tell whether predictions go there."""
    if item and out is None:
        raise UserError('--out-item needs --out')
    if out is None:
        return False
    if item == 'metrics':
        if not str(out).endswith('.json'):
            raise UserError(f'--out must end in .json for metrics, got {out}')
        return False
    if config.get('default_scope') != 'mmseg' and not str(out).endswith(PICKLES):
        raise UserError(
            f'--out must end in .pkl for predictions, got {out}; for metrics add '
            '--out-item metrics'
        )
    if not str(out).endswith(PICKLES) and os.path.isfile(out):
        raise UserError(f'--out {out} is a file; label maps go into a folder.')
    return True
