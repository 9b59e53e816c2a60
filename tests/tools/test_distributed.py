# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Two processes on the CPU: they train, resume, test, and agree with one process."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmvpt.checkpoint import read_checkpoint
from tests.engine.miniature import ROOT, environment, run_tool, write_config, write_data


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return str(s.getsockname()[1])


def bash(script, *args, **extra):
    """Run a script of the tree from another folder."""
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    env = environment(PORT=free_port(), PATH=path, **extra)
    env.pop('OMP_NUM_THREADS')  # the scripts set it
    process = subprocess.run(
        ['bash', str(ROOT / 'tools' / script), *map(str, args)],
        capture_output=True,
        text=True,
        env=env,
        cwd=args[0].parent if args and isinstance(args[0], Path) else None,
        timeout=180,
        check=False,
    )
    return process


def test_train_resume_and_test(tmp_path):
    config = write_config(tmp_path, train_dataloader__num_workers=1)
    work_dir = tmp_path / 'run'
    ended = bash('dist_train.sh', config, 2, '--work-dir', work_dir)
    assert ended.returncode == 0, ended.stderr
    assert 'Epoch(val) [2]' in ended.stderr + ended.stdout
    assert read_checkpoint(work_dir / 'epoch_2.pth')['meta']['iter'] == 4

    more = ('--resume', '--cfg-options', 'train_cfg.max_epochs=3')
    ended = bash('dist_train.sh', config, 2, '--work-dir', work_dir, *more)
    assert ended.returncode == 0, ended.stderr
    assert 'resumed epoch: 2, iter: 4' in ended.stderr + ended.stdout
    last = work_dir / 'epoch_3.pth'
    assert read_checkpoint(last)['meta']['iter'] == 6

    out = tmp_path / 'metrics.json'
    ended = bash('dist_test.sh', config, last, 2, '--out', out, '--out-item', 'metrics')
    assert ended.returncode == 0, ended.stderr
    assert 'accuracy/top1' in out.read_text()


def test_two_processes_and_one_end_equal(tmp_path):
    """The same global batch of 8 gives the same weights after 20 iterations."""
    float64 = 'import torch\ntorch.set_default_dtype(torch.float64)\n'
    (tmp_path / 'float64.py').write_text(float64)
    write_data(tmp_path, num_train=32)
    ends = {}
    for processes, batch in ((1, 8), (2, 4)):
        config = write_config(
            tmp_path,
            custom_imports=dict(imports=['float64']),
            model__backbone__prompt__drop_rate=0.0,
            train_dataloader__batch_size=batch,
            train_cfg__max_epochs=5,
        )
        work_dir = tmp_path / f'run{processes}'
        args = (config, '--work-dir', work_dir)
        extra = dict(PYTHONPATH=str(tmp_path))
        if processes == 1:
            ended = run_tool(*args, env=environment(**extra))
        else:
            ended = bash('dist_train.sh', config, processes, *args[1:], **extra)
        assert ended.returncode == 0, ended.stderr
        checkpoint = read_checkpoint(work_dir / 'epoch_5.pth')
        assert checkpoint['meta']['iter'] == 20
        ends[processes] = checkpoint['state_dict']
    for key, one in ends[1].items():
        assert one.dtype == torch.float64
        torch.testing.assert_close(ends[2][key], one, rtol=0, atol=1e-9)


SRUN = """#!/bin/bash
echo "$@" > "$SRUN_LOG"
while [[ "$1" == --* ]]; do shift; done
SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_LOCALID=0 MASTER_ADDR=127.0.0.1 exec "$@"
"""


def test_slurm(tmp_path):
    """With a stand-in for srun that starts one task."""
    srun = tmp_path / 'bin' / 'srun'
    srun.parent.mkdir()
    srun.write_text(SRUN)
    srun.chmod(0o755)
    config = write_config(tmp_path, train_cfg__max_epochs=1)
    log, work_dir = tmp_path / 'srun.log', tmp_path / 'run'
    tools = Path(sys.executable).parent
    env = environment(
        PATH=os.pathsep.join([str(srun.parent), str(tools), os.environ['PATH']]),
        SRUN_LOG=str(log),
        GPUS='1',
        GPUS_PER_NODE='0',
        PORT=free_port(),
        SRUN_ARGS='--quotatype=spot --exclusive',
    )
    script = str(ROOT / 'tools/slurm_train.sh')
    ended = subprocess.run(
        ['bash', script, 'part', 'job', str(config), str(work_dir)],
        capture_output=True,
        text=True,
        env=env,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert (work_dir / 'epoch_1.pth').exists()
    command = log.read_text()
    assert '--partition=part --job-name=job --ntasks=1' in command
    assert '--quotatype=spot --exclusive' in command and '--gres' not in command


@pytest.mark.parametrize(
    'script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh']
)
def test_usage(script):
    ended = bash(script)
    assert ended.returncode == 2
    assert f'usage: bash tools/{script}' in ended.stderr
