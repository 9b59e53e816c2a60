# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The head learns from the image and from the companion, in the given shares."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mmvpt.engine.hooks import CompanionLossHook
from mmvpt.engine.run import train
from mmvpt.errors import UserError
from tests.engine import miniature
from tests.models.prompted import ARCH, images
from tests.models.prompts.test_spatial import companion_feature

PROMPT = dict(type='SpatialPrompt', rank=4, adapt_layers=[0], drop_rate=0)


def build(prompt=PROMPT, **parts):
    torch.manual_seed(0)
    backbone = dict(
        type='mmvpt.PromptedVisionTransformer',
        arch=ARCH,
        img_size=32,
        patch_size=8,
        prompt=prompt,
    )
    head = dict(type='LinearClsHead', num_classes=5, in_channels=24)
    return MODELS.build(
        dict(type='ImageClassifier', backbone=backbone, **{'head': head, **parts})
    )


def samples(labels=(1, 4)):
    return [DataSample().set_gt_label(label) for label in labels]


def test_losses_and_what_they_train():
    model = build().train()
    expected = F.cross_entropy(model(images()), torch.tensor([1, 4]))
    hook = CompanionLossHook(weight=0.3)
    hook.attach(model)
    losses = model(images(), samples(), mode='loss')
    assert set(losses) == {'loss_cls', 'loss_companion'}
    torch.testing.assert_close(losses['loss_cls'], 0.7 * expected)
    grads = torch.autograd.grad(
        losses['loss_companion'], model.head.fc.weight, retain_graph=True
    )
    assert grads[0].any()
    hook.detach()
    feature = companion_feature(model.backbone, images())
    other = F.cross_entropy(model.head.fc(feature), torch.tensor([1, 4]))
    torch.testing.assert_close(losses['loss_companion'], 0.3 * other)
    assert model.backbone.guide.reads == ()
    assert set(model.train()(images(), samples(), mode='loss')) == {'loss'}


def test_prediction_is_the_images():
    model = build().eval()
    before = model(images(), mode='tensor')
    hook = CompanionLossHook()
    hook.attach(model)
    assert torch.equal(before, model(images(), mode='tensor'))
    assert set(model(images(), samples(), mode='loss')) == {'loss'}


def test_refusals():
    for weight in (0, 1, -0.1):
        with pytest.raises(UserError, match='share of the companion'):
            CompanionLossHook(weight)
    with pytest.raises(UserError, match='has 0 of these'):
        CompanionLossHook().attach(build(dict(type='DeepPrompt', num_tokens=2)))
    model = build()
    model.neck = nn.BatchNorm1d(24)
    with pytest.raises(UserError, match='BatchNorm1d, whose batch norm'):
        CompanionLossHook().attach(model)


def test_a_run_logs_both(tmp_path):
    path = miniature.write_config(
        tmp_path,
        model__backbone__prompt=dict(_delete_=True, **dict(PROMPT, drop_rate=0.1)),
        train_cfg__max_epochs=1,
        default_hooks__companion_loss=dict(type='mmvpt.CompanionLossHook'),
    )
    runner = train(str(path), work_dir=str(tmp_path / 'run'))
    scalars = runner.message_hub.log_scalars
    both = [scalars[f'train/{name}'].data[0] for name in ('loss_cls', 'loss_companion')]
    assert float(sum(both)[0]) == pytest.approx(float(scalars['train/loss'].data[0][0]))
