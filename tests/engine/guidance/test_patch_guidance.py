# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Metric losses of patches against the equation in docs/methods/davpt.md, slowly."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmvpt.engine.hooks import MetricGuidanceHook
from mmvpt.models.losses import ProxyAnchorLoss
from tests.engine.guidance.test_labels import literal_patch_classes, masked
from tests.engine.guidance.test_metric_guidance_equations import literal_operands
from tests.models.guided_model import Model, random_backbone

OPERANDS = dict(patch='z', query='q', key='k', output_patch='out')
SIZE = (30, 27)  # padded to 4x4 patches of 8 pixels
ALPHA, MARGIN, SCALE = 5.0, 0.2, 1.5


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def data(batch=3):
    """Return images and masks of classes 0 to 5, some ignored, one all ignored."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(batch, 3, *SIZE, generator=generator)
    coarse = torch.randint(0, 8, (batch, 1, 6, 6), generator=generator)
    masks = F.interpolate(coarse.double(), SIZE, mode='nearest')[:, 0].long()
    masks[masks > 5] = 255
    masks[-1] = 255
    return images, masks


def backbone(labels='patch', **prompt):
    return random_backbone(True, labels=labels, **prompt)


def losses(vit, images, masks, **options):
    """Return what a hook adds to the losses of a model."""
    hook, model = MetricGuidanceHook(**options), Model(vit).train()
    hook.attach(model, vit)
    try:
        found = model(images, masked(*masks), mode='loss')
    finally:
        hook.detach()
    return {k: v for k, v in found.items() if k.startswith('loss_metric')}


def literal_loss(vectors, proxies, targets, reduce):
    """Proxy anchor with a loop over everything; target None does not count."""
    pull = [[] for _ in proxies]
    push = [[] for _ in proxies]
    for x, y in zip(vectors, targets):
        for k, p in enumerate(proxies):
            s = SCALE * F.cosine_similarity(x, p, dim=0)
            if y == k:
                pull[k].append(torch.exp(-ALPHA * (s - MARGIN)))
            elif y is not None:
                push[k].append(torch.exp(ALPHA * (s + MARGIN)))

    def log_one_plus(terms):
        if not terms:
            return torch.zeros(())
        total = sum(terms)
        return torch.log(1 + (total / len(terms) if reduce == 'mean' else total))

    present = [k for k, terms in enumerate(pull) if terms]
    positive = sum(log_one_plus(pull[k]) for k in present) / len(present)
    return positive + sum(map(log_one_plus, push)) / len(proxies)


def literal_visual(vit, images, masks, operand, prompt, reduce):
    """Return the visual term with each labelled patch as a vector of its own."""
    phi = vit.prompt.class_to_prompt.tolist()
    total = 0
    for found in literal_operands(vit, images):
        m, of = found['m'], dict(raw='z', query='q', key='k')[prompt]
        proxies = [found[of][:, 1 + k].mean(0) for k in range(m)]
        vectors, targets = [], []
        for b, mask in enumerate(masks.tolist()):
            for n, label in enumerate(literal_patch_classes(mask, 8, 8)):
                vectors.append(found[OPERANDS[operand]][b, 1 + m + n])
                targets.append(None if label < 0 else phi[label])
        total = total + literal_loss(vectors, proxies, targets, reduce)
    return total / len(vit.prompt.guided_layers)


def literal_cls(vit, images, masks):
    """Return the CLS term with the majority prompt of each crop's classes."""
    phi, targets = vit.prompt.class_to_prompt.tolist(), []
    for mask in masks:
        votes = Counter(phi[c] for c in set(mask.flatten().tolist()) - {255})
        best = [k for k in votes if votes[k] == max(votes.values())]
        targets.append(min(best) if best else None)
    total = 0
    for found in literal_operands(vit, images):
        proxies = [found['q'][:, 1 + k].mean(0) for k in range(found['m'])]
        total = total + literal_loss(found['q'][:, 0], proxies, targets, 'sum')
    return total / len(vit.prompt.guided_layers)


def gradients(vit, loss):
    parameters = [vit.prompt.tokens, vit.prompt.guided_tokens]
    return torch.autograd.grad(loss, parameters)


def loss_config(reduce='sum'):
    options = dict(alpha=ALPHA, margin=MARGIN, scale=SCALE, reduce=reduce)
    return dict(type='mmvpt.ProxyAnchorLoss', **options)


@pytest.mark.parametrize(
    ('operand', 'prompt', 'reduce'),
    [
        ('output_patch', 'query', 'sum'),
        ('output_patch', 'raw', 'mean'),
        ('patch', 'raw', 'sum'),
        ('query', 'key', 'mean'),
        ('key', 'query', 'sum'),
    ],
)
def test_visual_term_and_gradient(operand, prompt, reduce):
    vit, (images, masks) = backbone(), data()
    found = losses(
        vit,
        images,
        masks,
        loss=loss_config(reduce),
        visual=operand,
        prompt_for_visual=prompt,
        visual_weight=0.7,
        cls_weight=0,
    )
    (value,) = found.values()
    expected = 0.7 * literal_visual(vit, images, masks, operand, prompt, reduce)
    close = dict(rtol=1e-11, atol=1e-10)
    torch.testing.assert_close(value, expected, **close)
    for grad, slow in zip(gradients(vit, value), gradients(vit, expected)):
        assert grad.abs().sum() > 0
        torch.testing.assert_close(grad, slow, **close)


@pytest.mark.parametrize('labels', ['image', 'patch'])
def test_cls_term_has_the_majority_prompt_of_the_crop(labels):
    vit, (images, masks) = backbone(labels), data()
    found = losses(vit, images, masks, loss=loss_config(), cls_weight=0.3)
    expected = 0.3 * literal_cls(vit, images, masks)
    value = found['loss_metric_cls']
    torch.testing.assert_close(value, expected, rtol=1e-11, atol=1e-10)


def test_output_patch_is_the_default():
    vit, (images, masks) = backbone(), data()
    asked = losses(vit, images, masks, visual='output_patch')
    assert asked == losses(vit, images, masks)
    released = losses(vit, images, masks, released=True, cls_weight=0)
    assert released == losses(
        vit,
        images,
        masks,
        loss=dict(type='mmvpt.ProxyAnchorLoss', positives='all'),
        visual='patch',
        prompt_for_visual='raw',
        cls_weight=0,
    )
    with pytest.raises(ValueError, match="visual='output' is the attention output at"):
        losses(vit, images, masks, visual='output')


class Plain(nn.Module):
    """A loss that knows nothing of vectors without a target."""

    def forward(self, x, proxies, targets):
        assert len(x) and (targets >= 0).all()
        return ProxyAnchorLoss()(x, proxies, targets)


@pytest.mark.parametrize('labels', ['image', 'patch'])
def test_other_losses_see_labelled_vectors_alone(labels):
    vit, (images, masks) = backbone(labels), data()
    expected = losses(vit, images, masks)
    found = losses(vit, images, masks, loss=dict(type=Plain))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize('loss', [None, dict(type=Plain)])
@pytest.mark.parametrize('labels', ['image', 'patch'])
def test_nothing_labelled_gives_zero_and_a_gradient_of_zero(labels, loss):
    vit, (images, masks) = backbone(labels), data()
    found = losses(vit, images, torch.full_like(masks, 255), loss=loss)
    assert [value.item() for value in found.values()] == [0, 0]
    for grad in gradients(vit, sum(found.values())):
        assert grad.isfinite().all() and not grad.any()


def test_ignored_crops_change_nothing():
    vit, (images, masks) = backbone(), data()
    part = losses(vit, images[:2], masks[:2])
    for name, value in losses(vit, images, masks).items():
        torch.testing.assert_close(value, part[name])


def test_mean_does_not_depend_on_how_often_the_batch_is_repeated():
    vit, (images, masks) = backbone(), data()
    options = dict(loss=loss_config('mean'), cls_weight=0)
    once = losses(vit, images, masks, **options)
    twice = losses(vit, torch.cat([images] * 2), torch.cat([masks] * 2), **options)
    torch.testing.assert_close(
        *(found['loss_metric_visual'] for found in (once, twice))
    )


def test_masks_that_do_not_fit():
    vit, (images, masks) = backbone(), data()
    with pytest.raises(ValueError, match=r'mask has size \(30, 26\), but its image'):
        losses(vit, images, masks[..., 1:])
    with pytest.raises(ValueError, match='label 6 is beyond the map'):
        losses(vit, images, masks.masked_fill(masks == 5, 6))
