# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""docs/segmentation.md: its command and its config run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmvpt.checkpoint import read_checkpoint
from mmvpt.datasets import export_digit_scenes
from tests.config_files import ROOT
from tests.engine.miniature import environment
from tests.quick import launched, two_ranks
from tests.segmentation import make_data, small
from tests.tools.test_distributed import free_port
from tools import train as train_tool

PAGE = (ROOT / 'docs/segmentation.md').read_text()
_BLOCK = r'^bash .*work_dirs/miniature(?:.*\\\n)+.*\n'
(COMMAND,) = re.findall(_BLOCK, PAGE, re.MULTILINE)
SCENES = dict(training=8, validation=4, test=1)
#: Four iterations instead of twenty, no workers, no ViT of its own size.
FEWER = {
    'num_workers=1': 'num_workers=0',
    'max_iters=20,val_interval=10': 'max_iters=4,val_interval=2',
    'checkpoint.interval=10': 'checkpoint.interval=2',
    'logger.interval=5,semantic_mapping.interval=10': 'semantic_mapping.interval=2',
    'param_scheduler.0.end=5': 'param_scheduler.0.end=2',
    'param_scheduler.1.begin=5': 'param_scheduler.1.begin=2',
    'param_scheduler.1.end=20': 'param_scheduler.1.end=8',
}


def run(folder, work_dir, *more, program=False):
    """Run the command of the page in ``folder``, shorter; return what it logged.

    Bash does with ``program``; without, it expands the words, and two forked processes
    take them.
    """
    command = COMMAND.replace('tools/dist_train.sh', f'{ROOT}/tools/dist_train.sh')
    command = command.replace('configs/davpt', f'{ROOT}/configs/davpt')
    for long, short in FEWER.items():
        assert long in command, f'the page no longer has {long}'
        command = command.replace(long, short)
    words = ' '.join(('--work-dir', str(work_dir), *more))
    command = command.replace('--work-dir work_dirs/miniature', words)
    if not program:
        command = command.replace('bash ', r"printf '%s\n' ", 1)
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    ended = subprocess.run(
        ['bash', '-c', command],
        capture_output=True,
        text=True,
        env=environment(PORT=free_port(), PATH=path),
        cwd=folder,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    if not program:
        _, config, processes, *args = ended.stdout.splitlines()
        assert processes == '2'
        two_ranks(_train_in, folder, config, *args, group=False)
    (log,) = work_dir.glob('*/*.log')
    return log.read_text()


def _train_in(rank, folder, *args):
    os.chdir(folder)
    launched(rank, 'train', *args)


def scores(text):
    return re.findall(r'Iter\(val\) .*mIoU: ([\d.]+)', text)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The folder it ran in and what it logged."""
    folder = tmp_path_factory.mktemp('run')
    export_digit_scenes(folder / 'data/miniature', scenes=SCENES)
    return folder, run(folder, folder / 'whole')


def test_two_processes_train_validate_and_save(trained):
    folder, logged = trained
    assert 'No GPU: 2 SyncBN of the model became BN' in logged
    assert len(scores(logged)) == 2
    assert {f'iter_{i}.pth' for i in (2, 4)} <= {p.name for p in folder.rglob('*.pth')}


@pytest.mark.sweep
def test_the_command_as_it_stands(trained):
    folder, logged = trained
    program = run(folder, folder / 'program', program=True)
    assert 'No GPU: 2 SyncBN of the model became BN' in program
    assert scores(program) == scores(logged)


@pytest.mark.sweep
def test_a_resumed_run_ends_equal(trained):
    """Weights, and the figure of all ranks with their norms."""
    folder, logged = trained
    resume = ('--resume', str(folder / 'whole/iter_2.pth'))
    again = run(folder, folder / 'resumed', *resume)
    assert scores(again)[-1] == scores(logged)[-1]
    ends = [
        read_checkpoint(folder / name / 'iter_4.pth')['state_dict']
        for name in ('whole', 'resumed')
    ]
    assert ends[0].keys() == ends[1].keys()
    for key, value in ends[0].items():
        assert torch.equal(ends[1][key], value), key


def test_config_for_own_masks_trains(tmp_path):
    (text,) = re.findall(r'# configs/own/field.py\n(.*?)```', PAGE, re.DOTALL)
    path = tmp_path / 'field.py'
    path.write_text(text.replace("'../davpt", f"'{ROOT}/configs/davpt"))
    config = small(str(path), tmp_path / 'data', train_cfg__max_iters=1)
    config.train_cfg.val_interval = 1
    make_data(tmp_path / 'data', config)
    config.dump(str(tmp_path / 'config.py'))
    args = [str(tmp_path / 'config.py'), '--work-dir', str(tmp_path / 'run')]
    runner = train_tool.main(args)
    assert runner.model.decode_head.num_classes == 5
    assert 0 <= runner.message_hub.get_scalar('val/mIoU').current() <= 100

    wrong = tmp_path / 'data/masks/train/image_000.png'
    shutil.copyfile(tmp_path / 'data/masks/train/image_001.png', wrong)
    with pytest.raises(ValueError, match='image_000.png: the mask has 40x48 pixels'):
        train_tool.main([*args, '--overwrite'])
