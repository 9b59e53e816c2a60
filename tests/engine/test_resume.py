# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""--resume continues the run of the checkpoint truly, or says what differs."""

import math
import re

import pytest
import torch

from mmvpt import engine
from mmvpt.checkpoint import read_checkpoint
from mmvpt.errors import UserError
from tests.engine.miniature import config, write_data

COSINE = dict(type='CosineAnnealingLR', begin=0, T_max=2, end=2)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('resume')
    write_data(folder)
    return folder


def run(root, work_dir, resume=False, **changes):
    schedule = dict(COSINE, **changes.pop('schedule', {}))
    settings = config(root / 'data', **changes)
    settings.param_scheduler = schedule
    return engine.train(settings, work_dir=work_dir, resume=resume, validate=False)


def rates(work_dir):
    """Return the logged learning rate of each epoch."""
    found = {}
    for path in sorted(work_dir.glob('*/*.log')):
        text = path.read_text()
        for epoch, rate in re.findall(r'Epoch\(train\) \[(\d+)\].*? lr: (\S+)', text):
            found[int(epoch)] = float(rate)
    return found


def longer(epochs):
    return dict(
        train_cfg__max_epochs=epochs,
        schedule=dict(T_max=epochs, end=epochs),
    )


def test_a_longer_run_has_the_schedule_of_its_length(root, tmp_path):
    run(root, tmp_path)
    run(root, tmp_path, resume=True, **longer(4))
    found = rates(tmp_path)
    for epoch in (3, 4):
        wanted = 0.1 * (1 + math.cos(math.pi * (epoch - 1) / 4)) / 2
        assert math.isclose(found[epoch], wanted, rel_tol=1e-3)
    text = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    assert 'train_cfg.max_epochs is 4, in the checkpoint 2' in text
    assert 'planned anew' in text


def test_more_epochs_alone_leave_no_rate_of_zero(root, tmp_path):
    run(root, tmp_path)
    with pytest.raises(UserError, match='end=2.*max_epochs=4.*T_max'):
        run(root, tmp_path, resume=True, train_cfg__max_epochs=4)
    assert (tmp_path / 'epoch_2.pth').exists()
    assert not (tmp_path / 'epoch_3.pth').exists()


def test_an_unchanged_run_keeps_its_state(root, tmp_path):
    run(root, tmp_path / 'whole')
    run(root, tmp_path / 'again', resume=tmp_path / 'whole' / 'epoch_1.pth')
    one, other = (
        read_checkpoint(tmp_path / name / 'epoch_2.pth') for name in ('whole', 'again')
    )
    for key, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][key])
    assert one['param_schedulers'] == other['param_schedulers']


ADAM = dict(_delete_=True, type='AdamW', lr=0.1, weight_decay=0.001)
OTHERS = {
    'optimizer': (
        dict(optim_wrapper__optimizer=ADAM),
        "optimizer.type is 'AdamW', in the checkpoint 'SGD'",
    ),
    'lr': (dict(optim_wrapper__optimizer__lr=0.2), 'lr is 0.2, in the checkpoint 0.1'),
    'batch size': (dict(train_dataloader__batch_size=4), 'batch_size is 4, .* 8'),
    'data': (dict(train_dataloader__dataset__split='val200'), "split is 'val200'"),
    'tunable': (dict(model__backbone__tunable='bias'), 'tunable|lacks'),
    'prompt': (dict(model__backbone__prompt__drop_rate=0.0), 'drop_rate is 0.0'),
    'shorter': (dict(train_cfg__max_epochs=1), 'max_epochs=1, .*2 epochs behind it'),
}


@pytest.fixture(scope='module')
def trained(root):
    run(root, root / 'trained')
    return root / 'trained'


@pytest.mark.parametrize('case', OTHERS)
def test_another_run_is_refused(root, trained, case):
    changes, words = OTHERS[case]
    before = {p.name: p.read_bytes() for p in trained.glob('*.pth')}
    with pytest.raises(UserError, match=words) as error:
        run(root, trained, resume=True, **changes)
    if case not in ('tunable', 'shorter'):
        assert 'load_from' in str(error.value)
    assert {p.name: p.read_bytes() for p in trained.glob('*.pth')} == before
