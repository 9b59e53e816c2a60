# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Attention weights against a literal softmax of the full-token forward."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmvpt.analysis import (
    attention_arrays,
    attention_maps,
    positive_prompts,
    read_layers,
    resolve_layer,
    shares,
)
from tests.analysis.models import PROMPTS, backbone, images
from tests.models.naive import naive_layer


def literal_weights(vit, x):
    """Return softmax(q k) of all tokens [CLS, prompts, patches] in each layer."""
    tokens, grid = vit.embed(x)
    number = grid[0] * grid[1]
    entered = left = None
    weights = []
    for i, layer in enumerate(vit.layers):
        patches = tokens[:, -number:]
        entered = vit.prompt(i, patches, grid, entered=entered, left=left)
        prompts = tokens[:, :0] if entered is None else entered
        count = prompts.shape[1]
        prompts = prompts.expand(len(tokens), -1, -1)
        tokens = torch.cat([tokens[:, :1], prompts, patches], dim=1)
        mask = torch.zeros(tokens.shape[1], tokens.shape[1], dtype=torch.bool)
        if vit.prompt.mask:
            mask[1 : 1 + count, : 1 + count] = True
        tau = vit.prompt.temperature(i)
        tau = 1.0 if tau is None else tau
        bias = layer.attn.qkv.bias
        if hasattr(layer.attn, 'tuned_bias'):
            bias = layer.attn.tuned_bias(bias)
        q, k, _ = F.linear(layer.ln1(tokens), layer.attn.qkv.weight, bias).chunk(3, -1)
        of_heads = []
        for head in range(layer.attn.num_heads):
            part = slice(4 * head, 4 * head + 4)
            logits = q[..., part] @ k[..., part].mT / math.sqrt(4) / tau
            of_heads.append(logits.masked_fill(mask, -math.inf).softmax(-1))
        weights.append((torch.stack(of_heads, dim=1), count))
        tokens, _ = naive_layer(layer, tokens, mask, tau)
        left = tokens[:, 1 : 1 + count]
    return weights


@pytest.mark.parametrize('name', PROMPTS)
@pytest.mark.parametrize('pooling', ['cls', 'patches'])
def test_equals_a_literal_softmax(name, pooling):
    tunable = 'davpt+' if name == 'davpt' else 'none'
    vit = backbone(name, pooling=pooling, tunable=tunable).eval()
    x = images()
    with torch.no_grad():
        expected = literal_weights(vit, x)
    found = attention_maps(vit, x)
    assert [one.layer for one in found] == [0, 1, 2]
    for one, (weights, count) in zip(found, expected):
        assert one.num_prompts == count
        torch.testing.assert_close(one.cls, weights[:, :, 0], rtol=1e-9, atol=1e-12)
        rows = weights[:, :, 1 : 1 + count]
        torch.testing.assert_close(one.prompts, rows, rtol=1e-9, atol=1e-12)
        for sums in (one.cls.sum(-1), one.prompts.sum(-1)):
            torch.testing.assert_close(sums, torch.ones_like(sums))
        maps = one.prompts_to_patches()
        assert maps.shape == (2, 3, count, 4, 4)
        if vit.prompt.mask:
            assert (one.prompts[..., : 1 + count] == 0).all()


def test_parts_shares_and_arrays():
    maps = attention_maps(backbone(), images(), layers=(-1, 0))
    last = maps[0]
    assert [one.layer for one in maps] == [2, 0]
    parts = last.cls_to_prompts().sum(-1) + last.cls_to_patches().sum((-2, -1))
    torch.testing.assert_close(parts, 1 - last.cls[..., 0])
    rows = shares(maps)
    assert rows.shape == (2, 3)
    torch.testing.assert_close(torch.from_numpy(rows).sum(1), torch.ones(2))
    assert rows[0, 1] == pytest.approx(float(last.cls_to_prompts().sum(-1).mean()))
    arrays = attention_arrays(maps)
    assert arrays['cls_2'].shape == (2, 3, 1 + 4 + 16)
    assert arrays['prompts_0'].shape == (2, 3, 4, 21)
    assert arrays['grid'].tolist() == [4, 4]


def test_other_sizes_dense_outputs_and_models_around_it():
    vit = backbone('shallow', out_type='featmap', out_indices=(0, 1))
    model = nn.Sequential(vit)
    maps = attention_maps(model, images(1, (40, 20)))
    assert len(maps) == 2, 'layers behind the last output do not run'
    assert maps[0].cls_to_patches().shape == (1, 3, 5, 3)
    without = backbone('deep', with_cls_token=False, out_type='featmap')
    (one, *_) = attention_maps(without, images(1))
    assert one.cls is None and one.prompts.shape == (1, 3, 2, 18)
    with pytest.raises(ValueError, match='no CLS token'):
        one.cls_to_patches()


@pytest.mark.parametrize('training', [True, False])
def test_mode_and_weights_stay(training):
    vit = backbone('gated').train(training)
    before = {k: v.clone() for k, v in vit.state_dict().items()}
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, second = (read_layers(vit, images()) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert vit.training is training
    assert torch.equal(first[-1].prompts, second[-1].prompts), 'dropout was active'
    assert all(torch.equal(before[k], v) for k, v in vit.state_dict().items())


def test_positive_prompts():
    vit = backbone()
    classes = torch.tensor([1, 3])
    assert positive_prompts(vit, 2, classes).tolist() == [2, 0]
    several = torch.zeros(2, 6, dtype=torch.bool)
    several[0, [1, 4, 0]] = True
    assert positive_prompts(vit, 2, several).tolist() == [2, -1]
    assert positive_prompts(vit, 1, classes) is None, 'layer 1 is not guided'
    assert positive_prompts(vit, 2, None) is None
    vit.prompt.class_to_prompt.fill_(-1)
    assert positive_prompts(vit, 2, classes) is None


def test_what_cannot_be_looked_at():
    with pytest.raises(ValueError, match='no prompts'):
        attention_maps(backbone('none'), images())
    with pytest.raises(ValueError, match='has 0 PromptedVisionTransformer'):
        attention_maps(nn.Linear(1, 1), images())
    for wrong in (3, -4):
        with pytest.raises(ValueError, match=f'from 0 to 2, .* got {wrong}'):
            attention_maps(backbone(), images(), layers=[wrong])
    assert resolve_layer(backbone(), None) == 2
    assert resolve_layer(backbone('shallow', out_indices=1), None) == 1
