# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Attention that keeps its operands alone: the formula's values and gradients."""

import pytest
import torch

from mmvpt.models.vit import attention
from mmvpt.models.vit.attention import attend

HEADS = 3
# images and tokens of each of the keys and values; one image: shared by all
PARTS = {
    'tokens': [(4, 5)],
    'shared prompts': [(4, 5), (1, 2)],
    'prompts of each image': [(4, 5), (4, 2)],
    'both': [(4, 5), (4, 2), (1, 3)],
}


def operands(parts, count=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        return x.to(dtype).requires_grad_()

    query = draw(count, 5, 4 * HEADS)
    return query, [draw(images, size, 8 * HEADS) for images, size in parts]


def literal(query, key_values):
    """Image by image, head by head, as the formula stands."""
    rows = []
    for b, q in enumerate(query):
        seen = torch.cat([x[b if len(x) > 1 else 0] for x in key_values])
        key, value = seen.chunk(2, dim=-1)
        outs = []
        for h in range(HEADS):
            of = slice(4 * h, 4 * h + 4)
            logits = q[:, of] @ key[:, of].T / 2  # the root of 4 channels
            weights = logits.exp() / logits.exp().sum(-1, keepdim=True)
            outs.append(weights @ value[:, of])
        rows.append(torch.cat(outs, dim=-1))
    return torch.stack(rows)


@pytest.mark.parametrize('at_once', [1, 80, 2**19])  # a head, an image, the whole batch
@pytest.mark.parametrize('parts', PARTS.values(), ids=PARTS)
def test_equals_the_formula(parts, at_once, monkeypatch):
    monkeypatch.setattr(attention, '_WEIGHTS_AT_ONCE', at_once)
    query, key_values = operands(parts)
    weight = torch.randn_like(query)
    results = []
    for function in (lambda q, kv: attend(q, kv, HEADS), literal):
        out = function(query, key_values)
        grads = torch.autograd.grad(out, (query, *key_values), weight)
        results.append((out, *grads))
    for found, expected in zip(*results):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('parts', [[(1, 5)], [(1, 5), (1, 2)]], ids=['tokens', 'both'])
def test_one_image(parts):
    query, key_values = operands(parts, count=1)
    assert torch.autograd.gradcheck(
        lambda q, *kv: attend(q, kv, HEADS), (query, *key_values)
    )


def kept(query, key_values, **options):
    """Return the tensors that autograd keeps, but for the operands."""
    own = {x.untyped_storage().data_ptr() for x in (query, *key_values)}
    found = []

    def note(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            found.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        attend(query, key_values, HEADS, **options)
    return found


def test_keeps_its_operands_alone(monkeypatch):
    query, key_values = operands(PARTS['both'])
    assert kept(query, key_values) == []
    monkeypatch.setattr(attention, 'is_sliced', lambda *args: False)
    assert kept(query, key_values), 'PyTorch keeps outputs and what was joined'


@pytest.mark.parametrize('how', ['bias', 'dropout', 'bfloat16', 'autocast', 'one row'])
def test_leaves_the_rest_to_the_fused_attention(how, monkeypatch):
    def refuse(*args):
        raise AssertionError('sliced')

    monkeypatch.setattr(attention.SlicedAttention, 'apply', refuse)
    dtype = torch.bfloat16 if how == 'bfloat16' else torch.float32
    query, key_values = operands(PARTS['both'], dtype=dtype)
    options = {}
    if how == 'bias':
        options = dict(logit_bias=torch.zeros(4, 1, 1, 10))
    if how == 'dropout':
        options = dict(drop_rate=0.5)
    if how == 'one row':
        query = query[:, :1]
    with torch.autocast('cpu', torch.bfloat16, enabled=how == 'autocast'):
        out = attend(query, key_values, HEADS, **options)
    out.sum().backward()
    assert all(x.grad.isfinite().all() for x in key_values)
    with torch.no_grad():
        attend(*operands(PARTS['tokens']), HEADS)
