# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""CVPT against figures of the authors' code and against its equations."""

import math

import pytest
import torch

from mmvpt.errors import UserError
from mmvpt.models.prompts import CrossPrompt
from tests.models.exact import assert_same
from tests.models.golden import assert_golden, golden_backbone, load_golden
from tests.models.prompted import build as small
from tests.models.prompted import images

GOLDEN = load_golden('cvpt_golden')
POSITIONS = ('before', 'attention', 'between', 'mlp', 'after')
HOST = dict(embed_dims=24, num_layers=3, patch_grid=(4, 4), patch_size=8, num_heads=3)


def build(variant, **options):
    position = POSITIONS[int(variant[-1]) - 1]
    prompt = dict(type='CrossPrompt', num_tokens=4, position=position)
    vit = golden_backbone(GOLDEN, prompt=prompt, **options)
    vit.prompt.tokens.data = GOLDEN['prompt/Prompt_Tokens'].clone()
    return vit


@pytest.mark.parametrize('variant', GOLDEN['meta']['variants'])
def test_golden_features_and_gradients(variant):
    assert_golden(
        GOLDEN, variant, build(variant), lambda values, name: values('Prompt_Tokens')
    )


@pytest.mark.parametrize('variant', GOLDEN['meta']['variants'])
@pytest.mark.parametrize('grad', [True, False])
def test_golden_layers(variant, grad):
    options = dict(out_type='featmap', out_indices=(0, 1, 2), final_norm=False)
    vit = build(variant, **options)
    with torch.set_grad_enabled(grad):
        outs = vit(GOLDEN['images'])
    for got, expected in zip(outs, GOLDEN[f'{variant}/layers']):
        torch.testing.assert_close(
            got.flatten(2).mT, expected[:, 1:], rtol=0, atol=1e-10
        )


def ask(layer, x, prompts):
    """Cross-attention to prompts, head by head, without a norm."""
    attn = layer.attn
    dims = attn.embed_dims
    wq, wk, wv = attn.qkv.weight.chunk(3)
    bq, bk, bv = attn.qkv.bias.chunk(3)
    q, k, v = x @ wq.T + bq, prompts @ wk.T + bk, prompts @ wv.T + bv
    width, heads = dims // attn.num_heads, []
    for h in range(attn.num_heads):
        part = slice(h * width, (h + 1) * width)
        logits = q[..., part] @ k[..., part].mT / math.sqrt(width)
        heads.append(logits.softmax(-1) @ v[..., part])
    return attn.proj(torch.cat(heads, -1))


@pytest.mark.parametrize('num_tokens', [1, 10, 60])
@pytest.mark.parametrize('position', POSITIONS)
@pytest.mark.filterwarnings('ignore:num_tokens=1')
def test_literal_equation(position, num_tokens):
    """Few prompts and many, which may be computed in different ways."""
    changes = dict(position=position, num_tokens=num_tokens)
    vit = small('cross', prompt=changes, final_norm=False).double()
    batch = images(dtype=torch.float64)
    x, _ = vit.embed(batch)
    for layer, prompts in zip(vit.layers, vit.prompt.tokens):
        if position == 'before':
            x = x + ask(layer, x, prompts)
        heads = layer.attn(layer.ln1(x))
        y = x + heads + (ask(layer, x, prompts) if position == 'attention' else 0)
        if position == 'between':
            y = y + ask(layer, y, prompts)
        normed = layer.ln2(y) + (ask(layer, y, prompts) if position == 'mlp' else 0)
        x = layer.ffn(normed, identity=y)
        if position == 'after':
            x = x + ask(layer, x, prompts)
    assert_same(vit, vit(batch), [x[:, 0]])
    with torch.no_grad():  # prompts of every layer are kept in evaluation
        torch.testing.assert_close(vit.eval()(batch)[0], x[:, 0], rtol=0, atol=1e-10)


def test_order_of_prompts_does_not_matter():
    vit = small('cross', prompt=dict(num_tokens=5)).double()
    batch = images(dtype=torch.float64)
    before = vit(batch)[0]
    vit.prompt.tokens.data = vit.prompt.tokens.data[:, [3, 1, 4, 0, 2]]
    torch.testing.assert_close(vit(batch)[0], before, rtol=0, atol=1e-12)


def test_zero_prompts_add_the_biases():
    vit = small('cross', prompt=dict(init='zeros')).double()
    plain = small(None).double()
    plain.load_state_dict(vit.state_dict(), strict=False)
    vit.prompt.tokens.data.zero_()
    batch = images(dtype=torch.float64)
    assert (vit(batch)[0] - plain(batch)[0]).abs().max() > 0.01
    for model in (vit, plain):
        for layer in model.layers:
            layer.attn.qkv.bias.data[48:].zero_()
            layer.attn.proj.bias.data.zero_()
    torch.testing.assert_close(vit(batch)[0], plain(batch)[0], rtol=0, atol=1e-12)


def test_one_prompt_is_a_bias():
    with pytest.warns(UserWarning, match='a learned bias of each layer'):
        vit = small('cross', prompt=dict(num_tokens=1)).double()
    layer, x = vit.layers[0], torch.randn(2, 17, 24, dtype=torch.float64)
    out = ask(layer, x, vit.prompt.tokens[0])
    torch.testing.assert_close(out, out[:1, :1].expand_as(out), rtol=0, atol=1e-12)


def test_start_and_counts():
    host = dict(embed_dims=768, num_layers=12, patch_grid=(14, 14), patch_size=16)
    for count, bound in ((10, 0.0188), (200, 0.0061)):
        prompt = CrossPrompt(count, **host)
        limit = math.sqrt(6 / ((count + 12) * 768))
        assert 0.99 * limit < prompt.tokens.abs().max() <= limit
        assert limit == pytest.approx(bound, abs=1e-4)
        assert prompt.tokens.numel() == 12 * count * 768
    assert not CrossPrompt(10, init='zeros', **host).tokens.any()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_tokens=0), 'num_tokens must be an integer of at least 1'),
        (dict(position='sequence'), "position must be one of 'before'"),
        (dict(position=3), 'got 3'),
        (dict(init='ones'), "'xavier', 'zeros'; got 'ones'"),
        (dict(drop_rate=1.0), r'drop_rate must be in \[0, 1\)'),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        CrossPrompt(**options, **HOST)


@pytest.mark.parametrize('pooling', ['prompts', 'prompts_and_patches'])
def test_there_are_no_rows_to_pool(pooling):
    with pytest.raises(UserError, match=pooling):
        small('cross', pooling=pooling)
