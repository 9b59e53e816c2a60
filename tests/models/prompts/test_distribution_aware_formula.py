# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""DA-VPT on a small model filled by a formula, against the authors' code.

Every tensor has the values 0.2 sin(0.7 i + (sum of the characters of its name mod 97)),
weights of norms 1 + half of that. The figures are what the released code
(Noahsark/DA-VPT 1a5ac60) printed in float64; parts of it add in float32.
"""

import pytest
import torch
import torch.nn.functional as F

from mmvpt.engine.guidance.clustering import (
    add_to_classes,
    class_means,
    cosine_kmeans,
    normalize_rows,
)
from mmvpt.models.losses import ProxyAnchorLoss
from mmvpt.models.vit import PromptedVisionTransformer
from tests.models.golden import TIMM_TO_MMPRETRAIN
from tests.models.guided_model import guided_losses, metric_loss

LABELS = torch.tensor([0, 3, 3, 6, 1])
RELEASED = dict(type='mmvpt.ProxyAnchorLoss', positives='all')
NAMES = {
    'prompt.guided_tokens': 'proxy_prompt_tokens',
    'prompt.tokens': 'other_prompt_tokens',
    'prompt.norm.weight': 'vpt_norm.weight',
    'prompt.norm.bias': 'vpt_norm.bias',
}


def wave(name, shape):
    index = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(0.7 * index + sum(map(ord, name)) % 97).reshape(shape)


def fill(name, parameter):
    name = NAMES.get(name, name)
    if name.startswith('ln1.'):
        name = name.replace('ln1.', 'norm.')
    for timm, ours in reversed(TIMM_TO_MMPRETRAIN):
        name = name.replace(ours, timm)
    v = wave(name, parameter.shape)
    norm_weight = 'norm' in name and name.endswith('weight')
    parameter.data = 1 + 0.1 * v if norm_weight else 0.2 * v


def build(mask=False, normalize='none', **options):
    vit = PromptedVisionTransformer(
        dict(embed_dims=24, num_layers=4, num_heads=3, feedforward_channels=96),
        img_size=32,
        patch_size=8,
        tunable=['cls_token', 'layers.1.ffn.layers.1.bias', 'layers.*.attn.qkv.bias'],
        prompt=dict(
            type='DistributionAwarePrompt',
            num_classes=7,
            num_guided_tokens=3,
            num_tokens=2,
            guided_layers=(2, 3),
            normalize=normalize,
            mask=mask,
        ),
        **options,
    ).double()
    for name, parameter in vit.named_parameters():
        fill(name, parameter)
    vit.prompt.class_to_prompt.copy_(torch.tensor([0, 1, 0, 0, 1, 2, 1]))
    return vit


def images():
    index = torch.arange(5 * 3 * 32 * 32, dtype=torch.float64)
    x = torch.sin(0.05 * index + 0.3).reshape(5, 3, 32, 32)
    return x + torch.linspace(-1, 1, 5, dtype=torch.float64).reshape(5, 1, 1, 1)


def logits(vit):
    head = dict(weight=(7, 24), bias=(7,))
    head = {k: 0.2 * wave(f'head.{k}', shape) for k, shape in head.items()}
    return F.linear(vit(images())[0], **head)


def released(vit, **options):
    options = {**dict(loss=RELEASED, released=True), **options}
    return metric_loss(vit, images(), LABELS, **options)


def near(value, expected):
    # 1e-7: the rows of a single term were rounded to float32.
    expected = pytest.approx(expected, abs=1e-6, rel=1e-7)
    assert float(value.detach()) == expected


@pytest.mark.parametrize('mask', [False, True])
def test_logits_and_losses(mask):
    vit = build(mask)
    rows = logits(vit)
    first = [-0.78754755, 0.17270245, 0.50022875, -0.42683258]
    first += [0.33751101, 0.58901087, -0.60091012]
    assert rows[0].tolist() == pytest.approx(first, abs=1e-6)
    near(F.cross_entropy(rows, LABELS), 2.45500546)
    near(released(vit), 17.64183081)


def test_scale_and_normalisation():
    scaled = dict(RELEASED, scale=5.0)
    near(released(build(), loss=scaled), 59.3687494)
    near(released(build(normalize='l2')), 17.64184277)
    near(released(build(normalize='layer')), 18.11634899)


def test_gradients():
    vit = build()
    prompt = vit.prompt
    params = [prompt.guided_tokens, prompt.tokens, vit.cls_token]
    params.append(vit.layers[1].ffn.layers[1].bias)
    fused = [layer.attn.qkv.bias for layer in vit.layers]
    expected = {
        'metric': (released(vit), [20.0949262, 0.28386831, 5.07784096, 2.71501331]),
        'task': (
            F.cross_entropy(logits(vit), LABELS),
            [0.01367249, 0.02531564, 0.35693064, 0.35015451],
        ),
    }
    for value, norms in expected.values():
        grads = torch.autograd.grad(value, [*params, *fused], allow_unused=True)
        assert [float(g.norm()) for g in grads[:4]] == pytest.approx(norms, abs=1e-6)
        # Softmax does not see a key bias: its gradient is rounding noise.
        assert all(g[24:48].abs().max() < 1e-14 for g in grads[4:])


@pytest.mark.parametrize(
    ('visual', 'prompt', 'plain', 'masked'),
    [
        ('patch', 'raw', 8.09078121, 8.09078121),
        ('patch', 'query', 7.78958893, None),
        ('patch', 'key', 8.96238327, None),
        ('query', 'raw', 7.26711607, 7.26711607),
        ('key', 'raw', 6.90965939, 6.90965939),
        ('output', 'raw', 7.89487314, 10.40642357),
    ],
)
def test_visual_operands(visual, prompt, plain, masked):
    options = dict(visual=visual, prompt_for_visual=prompt, cls_weight=0.0)
    near(released(build(), **options), plain)
    if masked is not None:
        near(released(build(mask=True), **options), masked)


@pytest.mark.parametrize(
    ('cls', 'prompt', 'expected'),
    [
        ('cls', 'raw', 6.5128684),
        ('query', 'raw', 9.55104923),
        ('key', 'raw', 8.41820908),
        ('query', 'query', 20.29864883),
        ('key', 'key', 19.60536957),
        ('cls', 'query', 14.71483421),
    ],
)
def test_cls_operands(cls, prompt, expected):
    options = dict(cls=cls, prompt_for_cls=prompt, visual_weight=0.0)
    near(released(build(), **options), expected)


def test_nca():
    loss = dict(RELEASED, kind='nca')
    losses = guided_losses(build(), images(), LABELS, loss=loss, released=True)
    near(losses['loss_metric_visual'], 8.71390343)
    # The released row leaves open the CLS operand; its class default is the query.
    near(losses['loss_metric_cls'], 10.7601614)


@pytest.mark.parametrize(
    ('pooling', 'mask', 'expected'),
    [
        ('prompts_and_patches', False, 2.28792657),
        ('patches', False, 2.24139472),
        ('prompts_and_patches', True, 2.29623726),
        ('patches', True, 2.24139472),
    ],
)
def test_mae_pooling(pooling, mask, expected):
    near(F.cross_entropy(logits(build(mask, pooling=pooling)), LABELS), expected)


def test_loss_alone():
    cosines = torch.tensor(
        [
            [0.30, -0.10, 0.05],
            [0.25, 0.00, -0.20],
            [0.10, 0.40, 0.15],
            [-0.05, 0.20, 0.60],
            [0.02, -0.30, 0.35],
        ]
    ).double()
    targets = torch.tensor([0, 0, 0, 1, 1])
    near(ProxyAnchorLoss(positives='all').from_cosines(cosines, targets), 18.61960916)
    near(ProxyAnchorLoss().from_cosines(cosines, targets), 20.8692898)


def test_running_means():
    sums, counts = torch.zeros(3, 2).double(), torch.zeros(3).long()
    updates = [
        ([[1, 2], [3, 4]], [0, 0]),
        ([[5, 6]], [2]),
        ([[7, 8], [9, 0]], [0, 2]),
    ]
    for features, labels in updates:
        add_to_classes(sums, counts, torch.tensor(features), torch.tensor(labels))
    means = torch.tensor([[11 / 3, 14 / 3], [0, 0], [7, 3]]).double()
    torch.testing.assert_close(class_means(sums, counts), means)


@pytest.mark.parametrize(
    ('normalize', 'norms'),
    [
        ('none', [0.36499705, 0.30462824, 0.36672886]),
        ('l2', [0.999457, 0.99861022, 0.99946718]),
        ('layer', [2.44803317, 2.44182673, 2.44807475]),
    ],
)
def test_kmeans(normalize, norms):
    data = 0.2 * wave('kmeans-data', (12, 6))
    seen = torch.arange(12) != 4
    rows = normalize_rows(data[seen], normalize)
    clusters, centroids = cosine_kmeans(rows, 3, rows[:3])
    assert clusters.tolist() == [0, 1, 2, 0, 2, 0, 1, 2, 0, 1, 2]
    assert centroids.norm(dim=1).tolist() == pytest.approx(norms, abs=1e-6)
