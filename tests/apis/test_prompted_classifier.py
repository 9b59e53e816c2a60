# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prompt tuning in a plain loop, without a runner."""

import pytest
import torch
import torch.nn.functional as F

import mmvpt
from mmvpt.apis.prompted_classifier import PROMPTS, PromptedClassifier
from mmvpt.errors import UserError
from mmvpt.models.vit import PromptedVisionTransformer
from tests.quick import swept

SMALL = dict(embed_dims=32, num_layers=3, num_heads=4, feedforward_channels=64)
FEW = {name: dict(config) for name, config in PROMPTS.items()}
FEW['davpt'].update(mapping='kmeans', num_guided_tokens=2, num_tokens=2, num_classes=3)
FEW['rein'].update(num_tokens=4, rank=2)
FEW['bpt'].update(rank=4)
FEW['pae'].update(num_tokens=4, koopman_dims=4, window=8, stride=4)
FEW['sa2vp'].update(rank=2)


def data(count=24):
    """Return images whose brightest colour is their class, and the classes."""
    labels = torch.arange(count) % 3
    images = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images[torch.arange(count), labels] += 1
    return images, labels


def loader():
    images, labels = data()
    return list(zip(images.split(8), labels.split(8)))


def small(prompt, seed=0):
    torch.manual_seed(seed)
    vit = PromptedVisionTransformer(SMALL, img_size=32, patch_size=8, prompt=prompt)
    for parameter in vit.parameters():  # LayerScale-free random weights
        parameter.data += 0.05 * torch.randn_like(parameter)
    return PromptedClassifier(vit, num_classes=3)


def fit(model, epochs=15, lr=0.02):
    """Train as anyone would; return the first and the last task loss."""
    optimizer = torch.optim.AdamW(model.tuned_parameters(), lr=lr)
    model.train()
    history = []
    for _ in range(epochs):
        for images, labels in loader():
            task = F.cross_entropy(model(images), labels)
            loss = task + sum(model.losses(labels).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(float(task.detach()))
    return history[0], sum(history[-3:]) / 3


@pytest.mark.parametrize('name', swept(FEW, 'vpt-shallow', 'davpt', 'pae'))
def test_a_plain_loop_tunes_and_freezes(name):
    model = small(FEW[name])
    frozen = {k: v.clone() for k, v in model.named_parameters() if not v.requires_grad}
    model.prepare(loader())
    first, last = fit(model)
    assert last < 0.8 * first
    now = dict(model.named_parameters())
    assert frozen and all(torch.equal(now[k], v) for k, v in frozen.items())


def test_losses_of_guided_prompts_are_added():
    model = small(FEW['davpt']).train()
    images, labels = loader()[0]
    model(images)
    with pytest.raises(UserError, match='call prepare'):
        model.losses(labels)
    model.prepare(loader())
    assert (model.backbone.prompt.class_to_prompt >= 0).all()
    model(images)
    losses = model.losses(labels)
    assert losses.keys() == {'loss_metric_visual', 'loss_metric_cls'}
    assert all(loss > 0 and loss.requires_grad for loss in losses.values())
    assert model.eval().losses(labels) == {}


def test_prepare_refuses_fewer_classes_than_guided_prompts():
    model = small(FEW['davpt'])
    images, labels = loader()[0]
    with pytest.raises(UserError, match='1 classes have training images, fewer than'):
        model.prepare([(images[labels == 0], labels[labels == 0])])


def test_the_tuned_state_is_small_and_complete():
    model, other = small(FEW['vpt-deep']), small(FEW['vpt-deep'])
    fit(model, epochs=2)
    state = model.tuned_state_dict()
    assert state.keys() == {'backbone.prompt.tokens', 'head.weight', 'head.bias'}
    other.load_tuned_state_dict(state)
    images = data()[0]
    assert torch.equal(model.eval()(images), other.eval()(images))
    with pytest.raises(UserError, match=r"missing \['head.bias'\]"):
        other.load_tuned_state_dict({k: v for k, v in state.items() if 'bias' not in k})


def test_a_timm_model_by_name():
    timm = pytest.importorskip('timm')
    name = 'vit_tiny_patch16_224'
    model = mmvpt.prompted(name, None, num_classes=3, pretrained=False)
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=0)
    ours = sum(v.numel() for v in model.backbone.parameters())
    assert ours == sum(v.numel() for v in theirs.parameters())
    assert model(torch.randn(1, 3, 224, 224)).shape == (1, 3)
    assert len(model.mean) == len(model.std) == 3 and max(model.mean) < 1


def test_normalisation_that_the_weights_do_not_tell(tmp_path):
    timm = pytest.importorskip('timm')
    name = 'vit_tiny_patch16_224'
    torch.save(timm.create_model(name, num_classes=0).state_dict(), tmp_path / 'a.pth')
    model = mmvpt.prompted(tmp_path / 'a.pth', None, num_classes=3)
    for key in ('mean', 'std'):
        with pytest.raises(UserError, match='--normalization NAME'):
            getattr(model, key)


def test_what_is_unknown_is_refused():
    with pytest.raises(UserError, match="prompt='vtp': known are vpt-shallow"):
        mmvpt.prompted('vit_tiny_patch16_224', 'vtp', num_classes=3, pretrained=False)
    with pytest.raises(UserError, match='guidance is for'):
        vit = small(FEW['vpt-deep']).backbone
        PromptedClassifier(vit, 3, guidance=dict(cls_weight=0.0))
