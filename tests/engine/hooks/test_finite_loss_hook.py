# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A loss that is no number stops the run before it is saved."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmvpt.engine.hooks import FiniteLossHook
from tests.engine.miniature import config, write_data


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp('data'))


class Spoil(Hook):
    """Make the loss or the weights of an iteration not finite."""

    def __init__(self, iteration, value=float('nan'), weights=False):
        self.iteration, self.value, self.weights = iteration, value, weights

    def before_train(self, runner):
        def spoil(module, args, output):
            if module.training and runner.iter + 1 == self.iteration:
                return {key: value * self.value for key, value in output.items()}

        if not self.weights:
            runner.model.register_forward_hook(spoil)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.weights and runner.iter + 1 == self.iteration:
            with torch.no_grad():
                runner.model.head.fc.bias[1] = self.value


def train(data, work_dir, spoil, **changes):
    runner = Runner.from_cfg(config(data, work_dir=str(work_dir), **changes))
    runner.register_hook(spoil, 'VERY_HIGH')
    runner.train()


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_stops_before_the_checkpoint(data, tmp_path, value):
    with pytest.raises(FloatingPointError) as error:
        train(data, tmp_path, Spoil(5, value))
    message = str(error.value)
    assert 'not finite in iteration 5: loss=' in message
    assert f'last good checkpoint is {tmp_path}/epoch_1.pth' in message
    assert 'lower learning rate (now 0.1)' in message
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']


def test_weights_that_overflow_under_a_finite_loss(data, tmp_path):
    with pytest.raises(FloatingPointError, match=r'head\.fc\.bias is not finite'):
        train(data, tmp_path, Spoil(3, weights=True))
    assert not list(tmp_path.glob('*.pth'))


def test_checkpoints_by_iteration(data, tmp_path):
    loop = dict(_delete_=True, by_epoch=False, max_iters=6, val_interval=100)
    with pytest.raises(FloatingPointError, match='iteration 4'):
        train(
            data,
            tmp_path,
            Spoil(4),
            train_cfg=loop,
            train_dataloader__sampler__type='mmvpt.SeededInfiniteSampler',
            param_scheduler__by_epoch=False,
            default_hooks__checkpoint__by_epoch=False,
            default_hooks__checkpoint__interval=2,
        )
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_2.pth']


def test_looks_at_the_interval(data, tmp_path):
    with pytest.raises(FloatingPointError, match='iteration 2') as error:
        train(data, tmp_path, Spoil(2), default_hooks__finite_loss__interval=2)
    names = [entry.name for entry in error.traceback]
    assert 'after_train_iter' in names and 'after_train_epoch' not in names


def test_finite_run_ends(data, tmp_path):
    train(data, tmp_path, Spoil(0))
    assert (tmp_path / 'epoch_2.pth').exists()


def test_interval_below_one():
    with pytest.raises(ValueError, match='at least 1, got 0'):
        FiniteLossHook(interval=0)
