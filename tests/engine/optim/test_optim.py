# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Optimizer, schedule and precision."""

import math
import warnings

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.runner import Runner
from torch import nn

from mmvpt.engine.optim import AutocastOptimWrapper, WarmupCosineLR
from mmvpt.models.vit import PromptedVisionTransformer
from tests.engine.miniature import ROOT, config, write_data

SCHEDULE = Config.fromfile(str(ROOT / 'configs/_base_/schedules/vpt_sgd_100e.py'))
FULL = Config.fromfile(str(ROOT / 'configs/_base_/schedules/adamw_100e.py'))


def model():
    net = nn.Module()
    net.backbone = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    net.backbone[0].requires_grad_(False)
    net.head = nn.Module()
    net.head.fc = nn.Linear(4, 3)
    return net


def build(optimizer=None, net=None, **custom_keys):
    wrapper = dict(
        type='OptimWrapper',
        constructor='mmvpt.TunedOptimWrapperConstructor',
        optimizer=optimizer or dict(type='SGD', lr=2.0, weight_decay=0.5),
    )
    if custom_keys:
        wrapper['paramwise_cfg'] = dict(custom_keys=custom_keys)
    return build_optim_wrapper(net or model(), ConfigDict(wrapper))


def test_frozen_parameters_stay_out():
    net = model()
    optimizer = build(net=net).optimizer
    (group,) = optimizer.param_groups
    tuned = [p for p in net.parameters() if p.requires_grad]
    assert [id(p) for p in group['params']] == [id(p) for p in tuned]


def test_equal_options_share_a_group():
    net = model()
    keys = {'head.fc.bias': dict(decay_mult=0.0)}
    groups = build(net=net, **keys).optimizer.param_groups
    assert [(len(g['params']), g['lr'], g['weight_decay']) for g in groups] == [
        (3, 2.0, 0.5),
        (1, 2.0, 0.0),
    ]
    assert groups[1]['params'][0] is net.head.fc.bias


def test_lbfgs_takes_what_is_tuned():
    build(dict(type='LBFGS', lr=1.0))


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        ({'haed': {}}, "'haed' is part of no parameter name"),
        ({'backbone.0': {}}, r"'backbone.0' matches frozen parameters only"),
        (
            {'fc': {}, 'head.fc.bias': {}, 'head.fc.weight': {}},
            "'fc' is overruled by longer keys",
        ),
    ],
)
def test_key_that_decides_nothing(keys, message):
    with pytest.raises(ValueError, match=f'{message}.*head.fc.weight'):
        build(**keys)


def test_nothing_is_tuned():
    with pytest.raises(ValueError, match='every parameter of the model is frozen'):
        build(net=nn.Linear(2, 2).requires_grad_(False))


def test_protocol_of_vpt(tmp_path):
    """Rates of a real run of 100 epochs, and what they are scaled by."""
    data = write_data(tmp_path, num_train=8)
    cfg = config(data, work_dir=str(tmp_path), train_dataloader__batch_size=4)
    for key in ('optim_wrapper', 'auto_scale_lr', 'param_scheduler'):
        cfg[key] = SCHEDULE[key]
    cfg.train_cfg = SCHEDULE.train_cfg
    assert cfg.train_cfg == dict(by_epoch=True, max_epochs=100, val_interval=1)
    assert SCHEDULE.auto_scale_lr == dict(enable=True, base_batch_size=256)
    runner = Runner.from_cfg(cfg)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    wrapper = runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(wrapper, runner.auto_scale_lr)
    (schedule,) = runner.build_param_scheduler(runner.param_schedulers)

    decays = {
        id(p): g['weight_decay'] for g in wrapper.param_groups for p in g['params']
    }
    for name, parameter in runner.model.named_parameters():
        if parameter.requires_grad:
            decay = 0.0 if name == 'head.fc.bias' else 0.001
            assert decays[id(parameter)] == decay, name
    assert all(group['momentum'] == 0.9 for group in wrapper.param_groups)
    assert not any(group['nesterov'] for group in wrapper.param_groups)

    factors = []
    for _ in range(100):
        rates = {group['lr'] for group in wrapper.optimizer.param_groups}
        assert len(rates) == 1
        factors.append(rates.pop() / (5.0 * 4 / 256))
        wrapper.step()
        schedule.step()
    expected = {0: 0, 1: 0.1, 5: 0.5, 9: 0.9, 10: 1, 11: 0.999695, 55: 0.5}
    expected.update({98: 0.001218, 99: 0.000305})
    for epoch, factor in expected.items():
        assert factors[epoch] == pytest.approx(factor, abs=5e-7), epoch
    for epoch, factor in enumerate(factors):
        cosine = (1 + math.cos(math.pi * (epoch - 10) / 90)) / 2
        assert factor == pytest.approx(epoch / 10 if epoch < 10 else cosine)


def test_full_fine_tuning_differs_in_the_optimizer_alone():
    assert FULL.optim_wrapper.optimizer.type == 'AdamW'
    assert FULL.optim_wrapper.optimizer.weight_decay == 0.01
    for key in ('auto_scale_lr', 'param_scheduler', 'train_cfg'):
        assert FULL[key] == SCHEDULE[key]


def scheduler(**changes):
    parameter = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=2.0)
    return optimizer, WarmupCosineLR(OptimWrapper(optimizer), **changes)


def test_protocol_by_iteration_differs_in_that_alone():
    path = ROOT / 'configs/_base_/schedules/vpt_sgd_100e_iter.py'
    by_iteration = Config.fromfile(str(path))
    assert by_iteration.param_scheduler.pop('convert_to_iter_based') is True
    assert by_iteration.to_dict() == SCHEDULE.to_dict()


def test_schedule_by_iteration_and_resumed():
    optimizer, whole = scheduler(warmup=4, end=20, by_epoch=False)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        whole.step()
        if len(rates) == 7:
            states = optimizer.state_dict(), whole.state_dict()
    assert rates[:6] == [0, 0.5, 1, 1.5, 2, pytest.approx(2 * whole.factor(5))]
    optimizer, rest = scheduler(warmup=4, end=20, by_epoch=False)
    optimizer.load_state_dict(states[0])
    rest.load_state_dict(states[1])
    for rate in rates[7:]:
        assert optimizer.param_groups[0]['lr'] == rate
        optimizer.step()
        rest.step()


def test_schedule_in_epochs_can_step_by_iteration():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
    schedule = WarmupCosineLR.build_iter_from_epoch(
        OptimWrapper(optimizer), warmup=2, end=5, epoch_length=10
    )
    assert (schedule.warmup, schedule.end, schedule.by_epoch) == (20, 50, False)


def test_training_shorter_than_the_warm_up():
    _, schedule = scheduler(warmup=10, end=3)
    assert schedule.factor(2) == 0.2


def test_negative_warm_up():
    with pytest.raises(ValueError, match='got -1'):
        scheduler(warmup=-1)


def test_autocast_on_the_cpu():
    net = nn.Linear(4, 4)
    wrapper = AutocastOptimWrapper(optimizer=torch.optim.SGD(net.parameters(), lr=0.1))
    with wrapper.optim_context(net):
        out = net(torch.randn(2, 4))
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().square().mean())
    assert net.weight.dtype == torch.float32


def test_autocast_dtype():
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    with pytest.raises(ValueError, match="'bfloat16'.*got 'int8'"):
        AutocastOptimWrapper(dtype='int8', optimizer=optimizer)


@pytest.mark.parametrize(
    ('capability', 'dtype', 'slow'),
    [
        ('AVX2', 'bfloat16', True),
        ('AVX512', 'bfloat16', False),
        ('AVX2', 'float16', False),
    ],
)
def test_bfloat16_without_its_instructions(monkeypatch, capability, dtype, slow):
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: capability)
    monkeypatch.setattr('mmvpt.models.precision.get_device', lambda: 'cpu')
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        AutocastOptimWrapper(dtype=dtype, optimizer=optimizer)
        PromptedVisionTransformer('vit-ti', 32, frozen_dtype=dtype)
    assert [str(w.message)[:16] for w in said] == ['bfloat16 is slow'] * 2 * slow
