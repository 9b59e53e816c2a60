# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""DA-VPT's optimiser recipe: groups, clipping, and the schedule step by step."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS

from mmvpt.engine.optim import TimmCosineLR
from mmvpt.registry import PARAM_SCHEDULERS

ROOT = Path(__file__).parents[3]
RECIPE = 'configs/_base_/schedules/davpt_adamw_100e.py'


def recipe():
    return Config.fromfile(str(ROOT / RECIPE))


def test_schedule_step_by_step():
    """The released CUB run: lr 5e-4, 168 steps for each of 100 epochs, 10 warm-up."""
    cfg = recipe()
    parameter = torch.nn.Parameter(torch.zeros(1))
    lr = cfg.optim_wrapper.optimizer.lr
    assert lr == 5e-4
    optimizer = torch.optim.AdamW([parameter], lr=lr)
    config = dict(cfg.param_scheduler)
    assert config.pop('convert_to_iter_based') and config.pop('by_epoch')
    cls = PARAM_SCHEDULERS.get(config.pop('type'))
    assert cls is TimmCosineLR
    scheduler = cls.build_iter_from_epoch(
        optimizer, end=cfg.train_cfg.max_epochs, epoch_length=168, **config
    )
    expected = {
        0: 1e-8,
        1: 3.0761309524e-7,
        168: 5.0009e-5,
        1679: 4.9970238690e-4,
        1680: 4.8776415355e-4,
        8400: 2.500005e-4,
        16799: 1.0043711e-9,
    }
    for t in range(16_800):
        if t in expected:
            got = optimizer.param_groups[0]['lr']
            assert got == pytest.approx(expected[t], rel=1e-7)
        optimizer.step()
        scheduler.step()


def test_resumed_schedule_goes_on():
    def make():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        return optimizer, TimmCosineLR(optimizer, warmup=3, end=20, by_epoch=False)

    whole, schedule = make()
    rates = []
    for _ in range(20):
        rates.append(whole.param_groups[0]['lr'])
        schedule.step()
    first, schedule = make()
    for _ in range(7):
        schedule.step()
    second, resumed = make()
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    for t in range(7, 20):
        assert second.param_groups[0]['lr'] == rates[t]
        resumed.step()
    with pytest.raises(ValueError, match='must not be negative, got -1'):
        TimmCosineLR(whole, warmup_lr=-1)


def test_groups_and_clipping():
    """The released CUB run on ViT-B: 65,480, 92,928 and 153,600 numbers."""
    prompt = dict(type='DistributionAwarePrompt', num_classes=200)
    prompt.update(num_guided_tokens=10, num_tokens=10, guided_layers=(10, 11))
    with torch.device('meta'):
        model = MODELS.build(
            dict(
                type='ImageClassifier',
                backbone=dict(
                    type='mmvpt.PromptedVisionTransformer',
                    arch='vit-b',
                    tunable='davpt-released',
                    prompt=prompt,
                ),
                head=dict(type='LinearClsHead', num_classes=200, in_channels=768),
            )
        )
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 312_008
    wrapper = build_optim_wrapper(model, recipe().optim_wrapper)
    groups = {
        group['weight_decay']: sum(p.numel() for p in group['params'])
        for group in wrapper.optimizer.param_groups
    }
    assert groups == {0.0: 65_480, 0.05: 92_928, 5.0: 153_600}
    assert {group['lr'] for group in wrapper.optimizer.param_groups} == {5e-4}
    assert wrapper.clip_grad_kwargs == dict(clip_value=10.0)
    # As the runner calls it, on values that a gradient would have.
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([40.0, -3.0])
    wrapper.optimizer.param_groups[:] = [dict(params=[parameter])]
    wrapper.message_hub = MessageHub.get_instance('recipe')
    wrapper._clip_grad()
    assert parameter.grad.tolist() == [10, -3]
