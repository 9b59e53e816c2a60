# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Two processes on the CPU: they train, resume, test, and agree with one process."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmvpt.checkpoint import read_checkpoint
from tests.engine.killed_runs import run_all
from tests.engine.miniature import ROOT, environment, write_config, write_data
from tests.quick import launched, two_ranks
from tests.tools.programs import test_tool


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
    """The scripts go on with a run of two processes, and test it."""
    config = write_config(tmp_path, train_dataloader__num_workers=1)
    work_dir = tmp_path / 'run'
    two_ranks(launched, 'train', config, '--work-dir', work_dir, group=False)
    (log,) = work_dir.glob('*/*.log')
    assert 'Epoch(val) [2]' in log.read_text()
    assert read_checkpoint(work_dir / 'epoch_2.pth')['meta']['iter'] == 4

    more = ('--resume', '--cfg-options', 'train_cfg.max_epochs=3')
    ended = bash('dist_train.sh', config, 2, '--work-dir', work_dir, *more)
    assert ended.returncode == 0, ended.stderr
    assert 'resumed epoch: 2, iter: 4' in ended.stderr + ended.stdout
    last = work_dir / 'epoch_3.pth'
    assert read_checkpoint(last)['meta']['iter'] == 6

    metrics = test_tool.main([str(config), str(last), '--work-dir', str(tmp_path)])
    out = tmp_path / 'metrics.json'
    options = ('--out', out, '--out-item', 'metrics')
    python = tmp_path / 'python'
    python.write_text('#!/bin/bash\nprintf "%s\\n" "$OMP_NUM_THREADS" "$@"\n')
    python.chmod(0o755)
    ended = bash('dist_test.sh', config, last, 2, *options, PYTHON=str(python))
    threads, *launcher = ended.stdout.splitlines()
    assert threads == '1' and launcher[:2] == ['-m', 'torch.distributed.run']
    assert '--nproc_per_node=2' in launcher
    (tool,) = (i for i, word in enumerate(launcher) if word.endswith('tools/test.py'))
    assert Path(launcher[tool]).samefile(ROOT / 'tools/test.py')
    words = launcher[tool + 1 :]
    assert words[2:4] == ['--launcher', 'pytorch']
    two_ranks(launched, 'test', *words, group=False)
    assert json.loads(out.read_text()) == metrics


def test_two_processes_and_one_end_equal(tmp_path, monkeypatch):
    """The same global batch of 8 gives the same weights after 20 iterations."""
    float64 = 'import torch\ntorch.set_default_dtype(torch.float64)\n'
    (tmp_path / 'float64.py').write_text(float64)
    monkeypatch.syspath_prepend(tmp_path)
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
        args = [str(config), '--work-dir', str(work_dir)]
        if processes == 1:
            run_all([[None, args]])
        else:
            two_ranks(launched, 'train', *args, group=False)
        checkpoint = read_checkpoint(work_dir / 'epoch_5.pth')
        assert checkpoint['meta']['iter'] == 20
        ends[processes] = checkpoint['state_dict']
    for key, one in ends[1].items():
        assert one.dtype == torch.float64
        torch.testing.assert_close(ends[2][key], one, rtol=0, atol=1e-9)


SRUN = '#!/bin/bash\nprintf "%s\\n" "$MASTER_PORT" "$@" > "$SRUN_LOG"\n'


def test_slurm(tmp_path, monkeypatch):
    """What srun, of which there is a stand-in, is asked to start, runs as one task."""
    srun = tmp_path / 'bin' / 'srun'
    srun.parent.mkdir()
    srun.write_text(SRUN)
    srun.chmod(0o755)
    config = write_config(tmp_path, train_cfg__max_epochs=1)
    log, work_dir = tmp_path / 'srun.log', tmp_path / 'run'
    env = environment(
        PATH=os.pathsep.join([str(srun.parent), os.environ['PATH']]),
        SRUN_LOG=str(log),
        GPUS='1',
        GPUS_PER_NODE='0',
        PORT=free_port(),
        SRUN_ARGS='--quotatype=spot --exclusive',
    )
    script = str(ROOT / 'tools/slurm_train.sh')
    command = ['bash', script, 'part', 'job', str(config), str(work_dir)]
    ended = subprocess.run(command, capture_output=True, text=True, env=env)
    assert ended.returncode == 0, ended.stderr
    port, *words = log.read_text().splitlines()
    assert {'--partition=part', '--job-name=job', '--ntasks=1'} <= set(words)
    assert {'--quotatype=spot', '--exclusive'} <= set(words)
    assert not any(word.startswith('--gres') for word in words)

    (tool,) = (i for i, word in enumerate(words) if word.endswith('tools/train.py'))
    assert Path(words[tool]).samefile(ROOT / 'tools/train.py')
    for name, value in dict(PROCID=0, NTASKS=1, LOCALID=0).items():
        monkeypatch.setenv(f'SLURM_{name}', str(value))
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    monkeypatch.setenv('MASTER_PORT', port)
    run_all([[None, words[tool + 1 :]]])
    assert (work_dir / 'epoch_1.pth').exists()


@pytest.mark.parametrize(
    'script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh']
)
def test_usage(script):
    ended = bash(script)
    assert ended.returncode == 2
    assert f'usage: bash tools/{script}' in ended.stderr
