# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Users' mistakes end the tools with one message that names value and remedy."""

import os
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from mmvpt.checkpoint import read_checkpoint
from tests.engine.hooks.test_atomic_checkpoint_hook import disk_with_room_for
from tests.engine.miniature import write_config
from tests.tools.programs import options

BACKBONE = 'model.backbone.'
TRAIN_SET = 'train_dataloader.dataset.'
# --cfg-options, what the message says about the value, and what to do.
CONFIGS = {
    'num_tokens': (['prompt.num_tokens=0'], 'got 0', 'num_tokens .* at least 1'),
    'prompt type': (['prompt.type=DepPrompt'], "'DepPrompt' is no", "'DeepPrompt'"),
    'prompt key': (['prompt.num_token=3'], "DeepPrompt .*'num_token'", "'num_tokens'"),
    'pooling': (['pooling=mean'], "got 'mean'", "'cls', 'patches'"),
    'out_indices': (['out_indices=2'], 'got 2', 'between -2 and 1'),
    'out_indices text': (['out_indices=last'], "got last|'last'", 'between -2 and 1'),
    'img_size': (['img_size=30'], 'img_size=30', 'a multiple such as 32'),
    'img_size text': (['img_size=big'], "got 'big'", 'one integer or'),
    'backbone key': (['pooing=cls'], "'pooing'", "Did you mean 'pooling'"),
    'arch': (['arch=vit-x'], "'vit-x'", "'vit-b'"),
    'arch key': (['arch.depth=3'], "'depth': 3", "exactly the keys .*'num_layers'"),
    'tunable': (['tunable=bais'], "'bais'", "'bias', 'norm'"),
    'init_cfg key': (
        ['init_cfg.type=Pretrained', 'init_cfg.checkpoint=a', 'init_cfg.prefx=b'],
        "'prefx'",
        'takes checkpoint and',
    ),
    'init_cfg empty': (
        ['init_cfg.type=Pretrained'],
        'lacks it',
        'takes checkpoint and',
    ),
    'weights missing': (
        ['init_cfg.type=Pretrained', 'init_cfg.checkpoint=/no/vit.pth'],
        '/no/vit.pth does not exist',
        'Check the path',
    ),
}
CONFIGS = {
    name: ([BACKBONE + change for change in changes], *patterns)
    for name, (changes, *patterns) in CONFIGS.items()
}
CONFIGS.update(
    {
        'num_classes': (
            ['model.head.num_classes=5'],
            'num_classes is 5',
            'Set model.head.num_classes=3',
        ),
        'data_root': (
            [TRAIN_SET + 'data_root=/nowhere'],
            "'/nowhere' .* does not exist",
            'docs/own_data.md',
        ),
        'split': (
            [TRAIN_SET + 'split=train80'],
            "train80.txt' does not exist",
            'found there: test, train800, train800val200, val200',
        ),
        'task': ([TRAIN_SET + 'task=cifar10'], "'cifar10'", "Did you mean 'cifar100'"),
        'data set type': (
            [TRAIN_SET + 'type=mmvpt.VTAB2k'],
            "'mmvpt.VTAB2k' is no known",
            "Did you mean 'mmvpt.VTAB1k'",
        ),
        'data set key': (
            [TRAIN_SET + 'cache_image=True'],
            "VTAB1k .*'cache_image'",
            "'cache_images'",
        ),
        'transform key': (
            [TRAIN_SET + 'pipeline.1.transform=1'],
            "SeededTransforms .*'transform'",
            "'transforms'",
        ),
        'sampler key': (
            ['train_dataloader.sampler.shufle=True'],
            "SeededSampler .*'shufle'",
            "'shuffle'",
        ),
        'data loader key': (
            ['train_dataloader.batchsize=4'],
            "DataLoader .*'batchsize' .value 4",
            "'batch_size'",
        ),
        'hook key': (
            ['default_hooks.finite_loss.intervall=3'],
            "FiniteLossHook .*'intervall'",
            "'interval'",
        ),
        'checkpoint hook key': (
            ['default_hooks.checkpoint.max_keep=3'],
            "AtomicCheckpointHook .*'max_keep'",
            "'max_keep_ckpts'",
        ),
        'schedule key': (
            ['param_scheduler.warmups=3'],
            "WarmupCosineLR .*'warmups'",
            "'warmup'",
        ),
        'optimizer key': (['optim_wrapper.optimizer.lrr=3'], "SGD .*'lrr'", "'lr'"),
        'paramwise_cfg key': (
            ['optim_wrapper.paramwise_cfg.custom_key.head.lr_mult=3'],
            "no option 'custom_key'",
            'options are .*custom_keys',
        ),
        'custom key': (
            ['optim_wrapper.paramwise_cfg.custom_keys.neck.lr_mult=3'],
            "'neck' is part of no",
            'Correct or remove it',
        ),
        'loop key': (
            ['train_cfg.max_epoch=3'],
            "EpochBasedTrainLoop .*'max_epoch'",
            "'max_epochs'",
        ),
        'field': (
            ['train_cfgs.max_epochs=3'],
            "no 'train_cfgs'",
            "Did you mean 'train_cfg'",
        ),
        'place': ([TRAIN_SET + 'pipeline.9.x=3'], r'pipeline\.9', 'does not fit'),
        'load_from': (['load_from=/no/x.pth'], '/no/x.pth does not', 'Check the path'),
    }
)


@pytest.mark.parametrize('case', CONFIGS)
def test_config(trained, tmp_path, fails, case):
    changes, *patterns = CONFIGS[case]
    args = (trained[0], '--work-dir', tmp_path, *options(*changes))
    status, message = fails('train.py', *args)
    assert status == 1
    for pattern in patterns:
        assert re.search(pattern, message), message


def test_prompt_config_without_its_keys(tmp_path, fails):
    for prompt, pattern in (
        (dict(type='DeepPrompt'), "DeepPrompt needs 'num_tokens'"),
        (dict(num_tokens=2), "prompt has no key 'type'; it has num_tokens"),
    ):
        config = write_config(tmp_path, model__backbone__prompt=None)
        config.write_text(f"{config.read_text()}\nmodel['backbone']['prompt']={prompt}")
        status, message = fails('train.py', config, '--work-dir', tmp_path / 'run')
        assert status == 1 and pattern in message


@pytest.mark.parametrize(
    ('text', 'pattern'),
    [
        ('', 'bad.py has no model'),
        ("model = dict(type='ImageClassifier')\n", 'has no train_dataloader'),
        (
            "model = dict(type='ImageClassifier')\n"
            'train_dataloader = dict(batch_size=2)\n'
            "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))\n"
            'train_cfg = dict(by_epoch=True, max_epochs=1)\n',
            "default_scope='mmpretrain'",
        ),
    ],
)
def test_config_file(tmp_path, fails, text, pattern):
    config = tmp_path / 'bad.py'
    config.write_text(text)
    status, message = fails('train.py', config, '--work-dir', tmp_path / 'run')
    assert status == 1 and re.search(pattern, message), message


@pytest.mark.parametrize('pair', ['work_dir', '=3', 'model={"type":"X"}'])
def test_malformed_option(trained, fails, pair):
    status, message = fails('train.py', trained[0], '--cfg-options', pair)
    assert status == 2 and '--cfg-options' in message and repr(pair) in message


def wrong_line(line):
    def change(folder):
        lines = (folder / 'train800.txt').read_text().splitlines()
        lines[1] = line
        (folder / 'train800.txt').write_text('\n'.join(lines) + '\n')

    return change


def cut_jpeg(folder):
    """Half of a JPEG, whose first rows decode."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    content = cv2.imencode('.jpg', noise)[1].tobytes()
    (folder / 'images/train800_1.png').write_bytes(content[: len(content) * 2 // 3])


DATA = {
    'no label': (wrong_line('a.png'), 'line 2: .*a.png', "expected 'path label'"),
    'word': (wrong_line('a.png b'), "line 2: label 'b'", "Expected 'path label'"),
    'label': (
        wrong_line('images/train800_1.png 3'),
        r'line 2: label 3 .*outside 0\.\.2',
        'Correct the list',
    ),
    'negative label': (
        wrong_line('images/train800_1.png -1'),
        'line 2: label -1 ',
        'Correct the list',
    ),
    'no image': (wrong_line('a.png 1'), 'line 2: .*a.png', 'correct the list'),
    'no text': (
        lambda folder: (folder / 'train800.txt').write_bytes(b'\xff\xfe\x81'),
        'train800.txt',
        'not UTF-8 text',
    ),
    'broken image': (
        lambda folder: (folder / 'images/train800_1.png').write_bytes(b'no image'),
        'train800_1.png',
        'Fetch it again',
    ),
    'empty image': (
        lambda folder: (folder / 'images/train800_1.png').write_bytes(b''),
        'train800_1.png',
        'Fetch it again',
    ),
    'cut image': (cut_jpeg, r'train800_1.png.*bytes\) is cut off', 'Fetch it again'),
}


@pytest.mark.parametrize('case', DATA)
def test_data(trained, tmp_path, fails, case):
    change, *patterns = DATA[case]
    folder = tmp_path / 'data'
    shutil.copytree(trained[0].parent / 'data', folder)
    change(folder)
    changes = options(f'{TRAIN_SET}data_root={folder}', f'{TRAIN_SET}cache_images=True')
    status, message = fails(
        'train.py', trained[0], '--work-dir', tmp_path / 'run', *changes
    )
    assert status == 1
    for pattern in patterns:
        assert re.search(pattern, message, re.DOTALL), message


def test_loss_that_is_no_number(trained, tmp_path, fails):
    """The warm-up's first epoch has a rate of 0, the second one explodes."""
    changes = options('optim_wrapper.optimizer.lr=1e30')
    args = (trained[0], '--work-dir', tmp_path, *changes)
    status, message = fails('train.py', *args)
    assert status == 1
    assert re.search(r'not finite in iteration \d: loss=', message)
    assert f'last good checkpoint is {tmp_path}/epoch_1.pth' in message
    assert 'lower learning rate' in message
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    state = read_checkpoint(tmp_path / 'epoch_1.pth')['state_dict']
    assert all(value.isfinite().all() for value in state.values())


def test_full_disk(trained, tmp_path, fails, monkeypatch):
    disk_with_room_for(monkeypatch, 1)
    status, message = fails('train.py', trained[0], '--work-dir', tmp_path)
    assert status == 1
    assert 'epoch_2.pth' in message and 'No space left' in message
    assert f'last good checkpoint is {tmp_path}/epoch_1.pth' in message
    assert read_checkpoint(tmp_path / 'epoch_1.pth')['meta']['epoch'] == 1


HOLDER = """
import fcntl, sys
with open(sys.argv[1], 'w') as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print('process 1 on host', file=file, flush=True)
    print('locked', flush=True)
    sys.stdin.read()
"""


def test_two_runs_in_one_work_dir(trained, tmp_path, fails):
    pytest.importorskip('fcntl')
    command = [sys.executable, '-c', HOLDER, str(tmp_path / '.lock')]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen(command, **pipes) as holder:
        assert holder.stdout.readline() == 'locked\n'
        status, message = fails('train.py', trained[0], '--work-dir', tmp_path)
        holder.stdin.close()
    assert status == 1
    assert f'{tmp_path} is in use by process 1 on host' in message
    assert 'choose another --work-dir' in message
    assert os.listdir(tmp_path) == ['.lock']


def test_fresh_run_in_a_used_work_dir(trained, fails):
    config, work_dir = trained
    before = (work_dir / 'epoch_2.pth').read_bytes()
    status, message = fails('train.py', config, '--work-dir', work_dir)
    assert status == 1
    assert f'{work_dir} holds checkpoints' in message
    assert '--resume' in message and '--overwrite' in message
    assert (work_dir / 'epoch_2.pth').read_bytes() == before


def test_test_data_is_missing(trained, tmp_path, fails):
    config, work_dir = trained
    changes = options('test_dataloader.dataset.data_root=/nowhere')
    args = (config, work_dir / 'epoch_2.pth', '--work-dir', tmp_path, *changes)
    status, message = fails('test.py', *args)
    assert status == 1 and "'/nowhere'" in message


def test_out_of_another_kind(trained, tmp_path, fails):
    config, work_dir = trained
    args = (config, work_dir / 'epoch_2.pth', '--work-dir', tmp_path)
    status, message = fails('test.py', *args, '--out', 'a.txt')
    assert status == 1 and 'got a.txt' in message and '.pkl' in message
