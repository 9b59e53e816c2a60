# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What ``tools/train.py`` and ``tools/test.py`` share."""

from __future__ import annotations

import argparse
import datetime
import itertools
import linecache
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .checks import OptionAction, explain_config_mistake, merge_options

_RUNS = itertools.count()
_PACKAGE = Path(__file__).resolve().parents[1]


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that both tools have.

    Args:
        parser: The parser.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help='change the config, for instance model.head.num_classes=10. Lists are '
        'written key="[a,b]", without blanks.',
    )
    parser.add_argument(
        '--no-pin-memory', action='store_true', help='no pin_memory in data loaders'
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='run code that a checkpoint holds. Only for files whose maker you know; '
        'MMVPT_TRUST_CHECKPOINT=1 does the same.',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes of a distributed run',
    )
    # torch.distributed.launch passes either spelling.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config and merge ``--cfg-options`` into it.

    Args:
        path: A Python, json or yaml config.
        options: Changes, by dotted key.

    Returns:
        The config.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a config file, or an option does not fit it.
    """
    file = Path(path)
    if not file.is_file():
        near = sorted(p.name for p in file.parent.glob('*.py'))[:8]
        hint = f' {file.parent} holds {", ".join(near)}.' if near else ''
        raise FileNotFoundError(
            f'config {path} does not exist (working directory: {Path.cwd()}).{hint}'
        )
    if file.suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise ValueError(f'config {path} must end in .py, .json, .yaml or .yml')
    try:
        config = Config.fromfile(path)
    except SyntaxError as error:
        raise ValueError(
            f'config {path} or a file of its _base_ is not valid Python: {error}'
        ) from error
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'config {path}: {error.filename} of its _base_ does not exist. Paths in '
            '_base_ are relative to the file they stand in.'
        ) from error
    if options:
        merge_options(config, options)
    return config


def choose_work_dir(config: Config, config_path: str, work_dir: str | None) -> None:
    """Set ``work_dir``: from the command line, the config, or the config's name.

    Args:
        config: Changed in place.
        config_path: Path of the config.
        work_dir: ``--work-dir``.
    """
    if work_dir is not None:
        config.work_dir = work_dir
    elif config.get('work_dir') is None:
        config.work_dir = str(Path('work_dirs') / Path(config_path).stem)


def name_experiment(config: Config, config_path: str) -> None:
    """Give every run of a process a name of its own.

    mmengine names the logger and the stores of scalars after config and second, so two
    short runs in one process would share them.

    Args:
        config: Changed in place, unless it has a name.
        config_path: Path of the config.
    """
    run = next(_RUNS)
    name = Path(config_path).stem + (f'-{run}' if run else '')
    config.experiment_name = config.get('experiment_name') or name


def set_dataloader_defaults(
    config: Config, pin_memory: bool = True, persistent_workers: bool = True
) -> None:
    """Give data loaders the defaults that mmpretrain's own tools give.

    They stack images, pin memory (with a GPU) and keep their workers (with workers).
    Configs of other scopes are left alone, and so is what a config sets itself.

    Args:
        config: Changed in place.
        pin_memory: False for ``--no-pin-memory``.
        persistent_workers: False for ``--no-persistent-workers``.
    """
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config.get(field)
        if loader is None:
            continue
        if config.get('default_scope') == 'mmpretrain':
            has_workers = loader.get('num_workers', 0) > 0
            loader.setdefault('collate_fn', dict(type='default_collate'))
            loader.setdefault('pin_memory', has_workers and torch.cuda.is_available())
            loader.setdefault('persistent_workers', has_workers)
        if not pin_memory:
            loader['pin_memory'] = False
        if not persistent_workers:
            loader['persistent_workers'] = False


def process_rank(launcher: str) -> int:
    """Return the rank of this process before anything is set up.

    Args:
        launcher: ``--launcher``.
    """
    names = dict(
        pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK', none=''
    )
    return int(os.environ.get(names[launcher], 0))


@contextmanager
def distributed(config: Config, launcher: str, local_rank: int = 0) -> Iterator[None]:
    """Set up a distributed run, also where there is no GPU, and end it.

    With GPUs mmengine does it in the runner. Without, mmengine asks for a CUDA device
    nevertheless, so the process group (gloo) is made here and DDP is told that there
    are no device numbers.

    Args:
        config: Changed in place.
        launcher: ``--launcher``.
        local_rank: ``--local_rank``.
    """
    config.launcher = launcher
    os.environ.setdefault('LOCAL_RANK', str(local_rank))
    if launcher == 'none':
        yield
        return
    if not torch.cuda.is_available() and not torch.distributed.is_initialized():
        _name_processes(launcher)
        settings = dict(config.get('env_cfg', {}).get('dist_cfg', {}))
        timeout = settings.get('timeout')
        torch.distributed.init_process_group(
            'gloo', timeout=timeout and datetime.timedelta(seconds=timeout)
        )
        wrapper = config.get('model_wrapper_cfg') or dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=config.get('find_unused_parameters', False),
        )
        wrapper.setdefault('device_ids', None)
        config.model_wrapper_cfg = wrapper
    try:
        yield
        # Let nobody take the store away while others still talk.
        torch.distributed.barrier()
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def build_runner(config: Config) -> Runner:
    """Build the runner; without a GPU ``SyncBN`` becomes ``BN``, as the log says.

    Args:
        config: Changed in place.
    """
    replaced = 0 if torch.cuda.is_available() else replace_sync_bn(config)
    build = RUNNERS.build if 'runner_type' in config else Runner.from_cfg
    runner = build(config)
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

    Args:
        config: ``config.model`` is changed in place.

    Returns:
        How many were replaced.
    """
    found = 0
    parts = [config.get('model')]
    while parts:
        part = parts.pop()
        if isinstance(part, (list, tuple)):
            parts.extend(part)
        elif isinstance(part, dict):
            parts.extend(part.values())
            if part.get('type') == 'SyncBN':
                part['type'] = 'BN'
                found += 1
    return found


def _name_processes(launcher: str) -> None:
    """Translate the variables of slurm or Open MPI into those of torch."""
    env = os.environ
    if launcher == 'slurm':
        names = ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID')
        if 'MASTER_ADDR' not in env:
            hosts = subprocess.run(
                ['scontrol', 'show', 'hostname', env['SLURM_NODELIST']],
                check=True,
                capture_output=True,
                text=True,
            )
            env['MASTER_ADDR'] = hosts.stdout.split()[0]
    elif launcher == 'mpi':
        prefix = 'OMPI_COMM_WORLD'
        names = (f'{prefix}_RANK', f'{prefix}_SIZE', f'{prefix}_LOCAL_RANK')
    else:
        return
    for target, name in zip(('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), names):
        env[target] = env[name]
    env.setdefault('MASTER_ADDR', '127.0.0.1')
    env.setdefault('MASTER_PORT', '29500')


def explain(error: BaseException) -> str | None:
    """Word an error that is the user's; None for everything else.

    These are errors that mmvpt raises on purpose: the innermost line of the traceback
    is a ``raise`` in this package, here or in a data-loading worker, or it wraps such
    an error. And unknown types and keys in configs, and connections to a process of
    the same run that such an error ended.

    Args:
        error: The error.
    """
    message = str(error.args[0]) if error.args else str(error)
    if 'Original Traceback' in message:
        return _explain_worker(message)
    mistake = explain_config_mistake(error)
    if mistake is not None:
        return mistake
    if 'gloo' in message and ' by peer' in message:
        return (
            'another process of this run ended first, and its own message says why '
            f'(here: {message.splitlines()[0]})'
        )
    frames = traceback.extract_tb(error.__traceback__)
    if frames and _is_our_raise(frames[-1].filename, frames[-1].lineno):
        return message
    inner = error.__cause__ or error.__context__
    if inner is not None:
        inner_message = explain(inner)
        if inner_message and inner_message in message:
            return message
    return None


def _is_our_raise(filename: str, line: int | None) -> bool:
    ours = _PACKAGE in Path(filename).resolve().parents
    return ours and linecache.getline(filename, line or 0).lstrip().startswith('raise')


def _explain_worker(message: str) -> str | None:
    """Take the error out of the text in which torch hands on a worker's traceback."""
    lines = message.rstrip().splitlines()
    places = [i for i, text in enumerate(lines) if text.lstrip().startswith('File "')]
    last = places[-1]
    filename, number = lines[last].split('"')[1], lines[last].split('line ')[1]
    if not _is_our_raise(filename, int(number.split(',')[0])):
        return None
    ends = [i for i in range(last + 1, len(lines)) if not lines[i].startswith(' ')]
    return '\n'.join(lines[ends[0] :]).split(': ', 1)[-1]


def run_tool(main: Callable[[], object]) -> None:
    """Run a tool as a program: errors we raise become one message, no traceback.

    Exits with status 1 after such an error; bugs keep their traceback.

    Args:
        main: The tool.
    """
    try:
        main()
    except KeyboardInterrupt:
        resumes = Path(sys.argv[0]).name == 'train.py'
        sys.exit('interrupted' + '; continue with --resume' * resumes)
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        print(f'{Path(sys.argv[0]).name}: error: {message}', file=sys.stderr)
        sys.exit(1)
