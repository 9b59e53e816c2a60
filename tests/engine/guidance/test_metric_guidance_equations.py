# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""MetricGuidanceHook against Eq. 4 and 5 of DA-VPT, written out slowly."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from tests.models.guided_model import guided_losses, random_backbone
from tests.models.naive import naive_layer


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def literal_operands(vit, images):
    """Run all tokens through everything; return operands of the guided layers."""
    x, _ = vit.embed(images)
    found = []
    for i, layer in enumerate(vit.layers):
        patches = x[:, -16:]
        prompts = vit.prompt(i, patches, (4, 4)).expand(len(x), -1, -1)
        m = prompts.shape[1]
        x = torch.cat([x[:, :1], prompts, patches], dim=1)
        blind = torch.zeros(x.shape[1], x.shape[1], dtype=torch.bool)
        blind[1 : 1 + m, : 1 + m] = vit.prompt.mask
        z = x
        x, out = naive_layer(layer, x, blind)
        if i in vit.prompt.guided_layers:
            qkv = F.linear(layer.ln1(z), layer.attn.qkv.weight, layer.attn.qkv.bias)
            q, k, _ = qkv.chunk(3, dim=-1)
            found.append(dict(z=z, q=q, k=k, out=out, m=m))
    return found


def literal_term(vit, images, labels, side, operand, prompt):
    """Return one term of Eq. 5 with Eq. 4 spelled out, before its weight."""
    phi = vit.prompt.class_to_prompt.tolist()
    y = [phi[label] for label in labels]
    total = 0.0
    layers = literal_operands(vit, images)
    for found in layers:
        m = found['m']
        of = dict(raw='z', query='q', key='k')[prompt]
        proxies = [found[of][:, 1 + k].mean(0) for k in range(m)]
        vectors = []
        for i in range(len(images)):
            if side == 'cls':
                of = dict(cls='z', query='q', key='k')[operand]
                vectors.append(found[of][i, 0])
            elif operand == 'output':
                vectors.append(found['out'][i, 1 + y[i]])
            else:
                of = dict(patch='z', query='q', key='k', output_patch='out')[operand]
                vectors.append(found[of][i, 1 + m :].mean(0))
        s = [
            [F.cosine_similarity(x, p, dim=0).item() for p in proxies] for x in vectors
        ]
        rows = range(len(images))
        pull = [
            sum(math.exp(-32 * (s[i][k] - 0.1)) for i in rows if y[i] == k)
            for k in range(m)
        ]
        push = [
            sum(math.exp(32 * (s[i][k] + 0.1)) for i in rows if y[i] != k)
            for k in range(m)
        ]
        total += sum(math.log(1 + v) for v in pull) / len(set(y))
        total += sum(math.log(1 + v) for v in push) / m
    return total / len(layers)


VISUAL = ('patch', 'query', 'key', 'output', 'output_patch')
CASES = [('visual', *c) for c in itertools.product(VISUAL, ('raw', 'query', 'key'))]
CASES += [
    ('cls', *c)
    for c in itertools.product(('cls', 'query', 'key'), ('raw', 'query', 'key'))
]


@pytest.mark.parametrize('labels', [[0, 1, 2, 5, 0], [1, 4, 5, 5, 1]])
@pytest.mark.parametrize('mask', [False, True])
def test_equals_the_equations(mask, labels):
    vit = random_backbone(mask)
    images = torch.randn(5, 3, 32, 32)
    for side, operand, prompt in CASES:
        options = dict(visual_weight=0.0, cls_weight=0.0)
        options.update({f'{side}_weight': 0.7, f'prompt_for_{side}': prompt})
        options[side] = operand
        losses = guided_losses(vit, images, labels, **options)
        assert list(losses) == [f'loss_metric_{side}']
        expected = 0.7 * literal_term(vit, images, labels, side, operand, prompt)
        value = losses[f'loss_metric_{side}'].item()
        assert value == pytest.approx(expected, abs=1e-10, rel=1e-11), options


def test_defaults_are_the_papers():
    vit = random_backbone(True)
    images, labels = torch.randn(4, 3, 32, 32), [0, 1, 2, 3]
    losses = guided_losses(vit, images, labels)
    for side, operand in (('visual', 'output'), ('cls', 'query')):
        expected = literal_term(vit, images, labels, side, operand, 'query')
        assert losses[f'loss_metric_{side}'].item() == pytest.approx(expected)


def test_gradients_reach_earlier_prompts():
    vit = random_backbone(True)
    losses = guided_losses(vit, torch.randn(3, 3, 32, 32), [0, 1, 2])
    sum(losses.values()).backward()
    assert vit.prompt.tokens.grad.abs().sum() > 0
    assert (vit.prompt.guided_tokens.grad.abs().sum((1, 2)) > 0).all()
