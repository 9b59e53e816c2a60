# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Checkpoints that are broken or of another model end in one message."""

import re

import pytest
import torch

from mmvpt.checkpoint import read_checkpoint
from tests.engine.miniature import write_config
from tests.tools.programs import options

BACKBONE = 'model.backbone.'
NARROW = (BACKBONE + 'arch.embed_dims=16', 'model.head.in_channels=16')
DEEPER = (BACKBONE + 'arch.num_layers=3', BACKBONE + 'prompt.type=ShallowPrompt')


def without_prompt(root):
    return write_config(root, model__backbone__prompt=None)


WEIGHTS = {
    'missing': ((), '/no/x.pth does not exist', 'Check the path'),
    'truncated': ((), r'cut.pth \(3000 bytes\) is truncated', 'Fetch or save it again'),
    'empty': ((), r'empty.pth is empty \(0 bytes\)', 'Fetch it again'),
    'folder': ((), 'is a directory', r'epoch_1.pth, epoch_2.pth'),
    'width': (NARROW, r'cls_token is \(1, 1, 32\)', 'Give the config'),
    'depth': (DEEPER, r'prompt.tokens is \(2, 3, 32\)', 'Give the config'),
    'prompts': (
        [BACKBONE + 'prompt.num_tokens=5'],
        r'prompt.tokens is \(2, 3, 32\) .* \(2, 5, 32\)',
        'Give the config it was trained with',
    ),
    'classes': (
        ['model.head.num_classes=5'],
        r'head.fc.weight is \(3, 32\) .* \(5, 32\)',
        'Give the config it was trained with',
    ),
    'no prompt': ((), 'holds backbone.prompt.tokens', 'Give the config'),
}


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
@pytest.mark.parametrize('case', WEIGHTS)
def test_weights(trained, tmp_path, fails, tool, case):
    """A run is resumed from, or tested with, weights that are not its own."""
    changes, *patterns = WEIGHTS[case]
    config, work_dir = trained
    path = work_dir / 'epoch_2.pth'
    if case == 'missing':
        path = '/no/x.pth'
    elif case in ('truncated', 'empty'):
        content = path.read_bytes()[: 3000 if case == 'truncated' else 0]
        path = tmp_path / ('cut.pth' if content else 'empty.pth')
        path.write_bytes(content)
    elif case == 'folder':
        path = work_dir
    elif case == 'no prompt':
        config = without_prompt(tmp_path)
    given = ('--resume', path) if tool == 'train.py' else (path,)
    args = (config, *given, '--work-dir', tmp_path / 'run', *options(*changes))
    status, message = fails(tool, *args)
    assert status == 1
    for pattern in patterns:
        assert re.search(pattern, message), message


@pytest.mark.parametrize(
    ('changes', 'pattern'),
    [
        (NARROW, r'cls_token is \(1, 1, 32\).*arch'),
        (DEEPER, 'has 2 layers and the model 3; set arch to the depth'),
    ],
)
def test_pretrained_weights_of_another_model(
    trained, tmp_path, fails, changes, pattern
):
    """As above for ``init_cfg``, with a checkpoint that has no prompts."""
    state = read_checkpoint(trained[1] / 'epoch_2.pth')['state_dict']
    state = {name: value for name, value in state.items() if '.prompt.' not in name}
    torch.save(state, tmp_path / 'vit.pth')
    init = (
        BACKBONE + 'init_cfg.type=Pretrained',
        f'{BACKBONE}init_cfg.checkpoint={tmp_path}/vit.pth',
    )
    args = (trained[0], '--work-dir', tmp_path / 'run', *options(*init, *changes))
    status, message = fails('train.py', *args)
    assert status == 1 and re.search(pattern, message), message
