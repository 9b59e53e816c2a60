# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Several processes of one run, with GPUs or without."""

from __future__ import annotations

import datetime
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config

#: What ``--launcher`` takes, and the variable with the rank that each one sets.
LAUNCHERS = dict(
    none='', pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK'
)


def process_rank(launcher: str) -> int:
    """Return the rank of this process before anything is set up."""
    return int(os.environ.get(LAUNCHERS[launcher], 0))


@contextmanager
def distributed(config: Config, launcher: str, local_rank: int = 0) -> Iterator[None]:
    """Set up a distributed run, also where there is no GPU, and end it.

    With GPUs mmengine does it in the runner. Without, mmengine asks for a CUDA device
    nevertheless, so the process group (gloo) is made here and DDP is told that there
    are no device numbers.
    """
    config.launcher = launcher
    os.environ.setdefault('LOCAL_RANK', str(local_rank))
    if launcher == 'none':
        yield
        return
    if not torch.cuda.is_available() and not torch.distributed.is_initialized():
        name_processes(launcher)
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


def name_processes(launcher: str) -> None:
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
