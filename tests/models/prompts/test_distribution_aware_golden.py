# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""DA-VPT against figures of the authors' code (tests/data/davpt_golden.npz), float32.

Computed in float64 here, so what differs is the authors' rounding. The file has every
option: normalisation, mask, poolings, kinds of loss, operands, and gradients.
"""

import re

import pytest
import torch

from mmvpt.engine.guidance.clustering import (
    add_to_classes,
    class_means,
    cosine_kmeans,
    normalize_rows,
)
from mmvpt.models.losses.proxy_anchor import log_one_plus_sum_exp
from tests.models.golden import golden_backbone, load_golden
from tests.models.guided_model import metric_loss

GOLDEN = load_golden('davpt_golden')
RELEASED = dict(type='mmvpt.ProxyAnchorLoss', positives='all', scale=5.0)
VARIANTS = sorted({key.split('/')[0] for key in GOLDEN if key.endswith('metric_loss')})


def build(variant):
    """Return the backbone, and the options of the hook, that a variant means."""
    meta = GOLDEN['meta']
    mask, normalize, pooling = True, 'l2', 'cls'
    options = dict(loss=RELEASED, released=True)
    if match := re.fullmatch(r'mask(\d)_norm-(\w+)', variant):
        mask, normalize = match[1] == '1', match[2]
    elif match := re.fullmatch(r'pool-mean-(\w+)', variant):
        pooling = dict(all='prompts_and_patches', patches='patches')[match[1]]
    elif match := re.fullmatch(r'crit-proxy(\w+)_cls-(\w+)_only-cls', variant):
        options.update(loss=dict(RELEASED, kind=match[1]), cls=match[2])
        options.update(visual_weight=0.0)
    else:
        match = re.fullmatch(r'visual-(\w+)_prompt-(\w+)_only-patch', variant)
        prompt = match[2].replace('vpt', 'raw')
        options.update(visual=match[1], prompt_for_visual=prompt, cls_weight=0.0)
    vit = golden_backbone(
        GOLDEN,
        pooling=pooling,
        norm_before_pool=True,
        prompt=dict(
            type='DistributionAwarePrompt',
            guided_layers=meta['guided_layers'],
            normalize=normalize,
            mask=mask,
            **{k: meta[k] for k in ('num_classes', 'num_guided_tokens', 'num_tokens')},
        ),
    )
    vit.prompt.guided_tokens.data = GOLDEN['prompt/guided_tokens'].clone()
    vit.prompt.tokens.data = GOLDEN['prompt/tokens'].clone()
    vit.prompt.class_to_prompt.copy_(GOLDEN['class_to_prompt'])
    return vit, options


def close(value, expected):
    """Compare with what float32 gave: relative to the largest entry."""
    top = float(expected.abs().max())
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5 * top)


def gradients(value, prompt):
    params = (prompt.guided_tokens, prompt.tokens)
    grads = torch.autograd.grad(value, params, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(params, grads)]


@pytest.mark.parametrize('variant', VARIANTS)
def test_golden_features_losses_and_gradients(variant):
    vit, options = build(variant)
    feature = vit(GOLDEN['images'])[0]
    close(feature, GOLDEN[f'{variant}/feature'])
    metric = metric_loss(vit, GOLDEN['images'], GOLDEN['labels'], **options)
    close(metric, GOLDEN[f'{variant}/metric_loss'].squeeze())
    values = dict(metric=metric, feature=feature.square().sum())
    for name, value in values.items():
        for which, grad in zip(('guided', 'other'), gradients(value, vit.prompt)):
            close(grad, GOLDEN[f'{variant}/grad_{name}_wrt_{which}'])


def test_golden_variants_are_all_there():
    assert len(VARIANTS) == 22


def test_golden_log_sum_exp():
    sims, mask = GOLDEN['lse/sims'], GOLDEN['lse/mask']
    close(log_one_plus_sum_exp(sims, mask, 0), GOLDEN['lse/anchor'][0])
    close(log_one_plus_sum_exp(sims, mask, 1), GOLDEN['lse/nca'][:, 0])


def test_golden_class_means():
    features, labels = GOLDEN['class_means/features'], GOLDEN['class_means/labels']
    sums, counts = torch.zeros(11, 48).double(), torch.zeros(11).long()
    for batch in (slice(0, 7), slice(7, 8), slice(8, 20)):
        add_to_classes(sums, counts, features[batch], labels[batch])
    close(class_means(sums, counts), GOLDEN['class_means/means'])
    assert torch.equal(counts, labels.bincount(minlength=11))


@pytest.mark.parametrize('normalize', ['none', 'l2', 'layer'])
def test_golden_kmeans(normalize):
    rows = normalize_rows(GOLDEN['kmeans/data'], normalize)
    clusters, centroids = cosine_kmeans(rows, 6, rows[:6])
    assert torch.equal(clusters, GOLDEN[f'kmeans-{normalize}/assignment'])
    close(centroids, GOLDEN[f'kmeans-{normalize}/centroids'])
