# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Mistakes that are seen before or in the first iteration."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import Runner
from torch import nn

from mmvpt.checkpoint import CheckpointError
from mmvpt.engine.hooks import (
    CompleteWeightsHook,
    NumClassesHook,
    TunedParametersHook,
)
from tests.engine.miniature import config, write_data


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp('data'))


def train(data, work_dir, **changes):
    runner = Runner.from_cfg(config(data, work_dir=str(work_dir), **changes))
    runner.train()
    return runner


def test_table_and_file_of_tuned_parameters(data, tmp_path):
    runner = train(data, tmp_path, train_cfg__max_epochs=1)
    (path,) = tmp_path.glob('*/tuned_parameters.json')
    report = json.loads(path.read_text())
    groups = report['groups']
    assert groups['backbone.prompt'] == dict(tuned=2 * 3 * 32, frozen=0)
    assert groups['head'] == dict(tuned=33 * 3, frozen=0)
    assert report['tuned'] == 2 * 3 * 32 + 33 * 3
    total = sum(p.numel() for p in runner.model.parameters())
    assert report['total'] == total == report['tuned'] + report['frozen']
    assert report['percent'] == pytest.approx(100 * report['tuned'] / total)
    assert report['tensors']['backbone.prompt.tokens'] == [2, 3, 32]
    (log,) = tmp_path.glob('*/*.log')
    text = log.read_text()
    assert re.search(r'backbone\.prompt +\D*192 +\D*0\b', text) and '% of' in text


def test_tuned_parameter_without_gradient(data, tmp_path):
    cfg = config(data, work_dir=str(tmp_path))
    runner = Runner.from_cfg(cfg)
    runner.model.unused = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r'reaches them: unused\.bias, unused\.we'):
        runner.train()


def test_gradient_may_come_later_under_accumulation(data, tmp_path):
    cfg = config(data, work_dir=str(tmp_path), optim_wrapper__accumulative_counts=3)
    runner = Runner.from_cfg(cfg)
    runner.model.late = nn.Parameter(torch.ones(()))
    loss = runner.model.loss

    def late(inputs, samples):
        losses = loss(inputs, samples)
        return dict(loss=losses['loss'] * (runner.model.late if runner.iter else 1))

    runner.model.loss = late
    runner.train()


def test_check_of_gradients_can_be_switched_off(data, tmp_path):
    key = 'default_hooks__tuned_parameters__check_gradients'
    runner = Runner.from_cfg(config(data, work_dir=str(tmp_path), **{key: False}))
    runner.model.unused = nn.Linear(2, 2)
    runner.train()


def test_everything_frozen():
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ValueError, match='nothing to train'):
        TunedParametersHook().before_train(SimpleNamespace(model=model))


def test_shared_parameters_count_once():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    assert TunedParametersHook.count(model)['total'] == 4


def test_number_of_classes(data, tmp_path):
    with pytest.raises(ValueError) as error:
        train(data, tmp_path, model__head__num_classes=5)
    message = str(error.value)
    assert (
        'model.head.num_classes is 5, but the train data set (VTAB1k) has 3' in message
    )
    assert 'Set model.head.num_classes=3' in message


def test_number_of_classes_of_segmentation_heads():
    model = nn.Module()
    model.decode_head = nn.Module()
    model.decode_head.num_classes = 3
    wrong = nn.Module()
    wrong.num_classes = 4
    model.auxiliary_head = nn.ModuleList([model.decode_head, wrong])
    dataset = SimpleNamespace(metainfo=dict(classes=('a', 'b', 'c')))
    loader = SimpleNamespace(dataset=dataset)
    for stage in ('train', 'val', 'test'):
        runner = SimpleNamespace(model=model, **{f'{stage}_dataloader': loader})
        with pytest.raises(ValueError, match=rf'head\[1\].num_classes is 4.*{stage}'):
            getattr(NumClassesHook(), f'before_{stage}')(runner)


def test_number_of_classes_that_nobody_knows():
    model = nn.Module()
    model.head = nn.Module()
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo={}))
    hook = NumClassesHook()
    hook.before_train(SimpleNamespace(model=model, train_dataloader=loader))


def test_checkpoint_that_lacks_tuned_weights():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
    model[0].requires_grad_(False)
    runner = SimpleNamespace(model=model, _resume=False)
    hook = CompleteWeightsHook()
    state = model.state_dict()
    hook.after_load_checkpoint(runner, dict(state_dict=state))
    tuned = {key: value for key, value in state.items() if key.startswith('1')}
    hook.after_load_checkpoint(runner, dict(state_dict=tuned))
    with pytest.raises(CheckpointError, match=r'lacks 1\.bias'):
        hook.after_load_checkpoint(runner, {'1.weight': state['1.weight']})
    with pytest.raises(
        CheckpointError, match=r'1\.bias is \(4,\).*\(3,\) in the model'
    ):
        hook.after_load_checkpoint(runner, {**state, '1.bias': torch.zeros(4)})


def loaded(state, classes=('a', 'b'), zero=False, trains=False):
    """Let the hook see a checkpoint; return the state that goes into the model."""
    data = SimpleNamespace(metainfo=dict(classes=['a', 'b'], reduce_zero_label=False))
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=data))
    runner = SimpleNamespace(model=nn.Linear(2, 2), _resume=False, _test_loop=loop)
    runner._train_loop = loop if trains else None
    meta = dict(dataset_meta=dict(classes=classes, reduce_zero_label=zero))
    checkpoint = dict(state_dict=state, meta=meta)
    CompleteWeightsHook().after_load_checkpoint(runner, checkpoint)
    return checkpoint['state_dict']


@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.', 'net.model.'])
@pytest.mark.parametrize('trains', [False, True])
def test_prefixes_of_a_whole_checkpoint(prefix, trains):
    own = nn.Linear(2, 2).state_dict()
    state = {prefix + name: value for name, value in own.items()}
    assert set(loaded(state, trains=trains)) == set(own)


def test_other_classes_or_values_than_in_training():
    own = nn.Linear(2, 2).state_dict()
    with pytest.raises(ValueError, match="label 0 is 'b' in the first and 'a'"):
        loaded(own, classes=('b', 'a'))
    with pytest.raises(ValueError, match='reduce_zero_label=True, the data set has F'):
        loaded(own, zero=True)
    assert loaded(own, classes=('x', 'y', 'z'), trains=True)  # another task


def test_load_from_takes_some_weights_at_least():
    with pytest.raises(CheckpointError, match=r'no weight is one .*conv\.kernel'):
        loaded({'conv.kernel': torch.ones(2)}, trains=True)
