# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Rein against figures of the authors' code and against its equations."""

import math

import pytest
import torch
import torch.nn.functional as F

from mmvpt.errors import UserError
from mmvpt.models.prompts import RefiningPrompt
from tests.models.exact import assert_same
from tests.models.golden import assert_golden, golden_backbone, load_golden
from tests.models.prompted import build as small
from tests.models.prompted import images

GOLDEN = load_golden('rein_golden')
META = GOLDEN['meta']
HOST = dict(embed_dims=24, num_layers=3, patch_grid=(4, 4), patch_size=8, num_heads=3)
NAMES = (
    ('token_rows', 'learnable_tokens_a'),
    ('token_basis', 'learnable_tokens_b'),
    ('tokens', 'learnable_tokens'),
    ('token_proj', 'mlp_token2feat'),
    ('feature_proj', 'mlp_delta_f'),
    ('query_proj', 'transform'),
    ('query_merge', 'merge'),
)


def released(values, name):
    for ours, theirs in NAMES:
        if name.split('.')[0] == ours:
            return values(name.replace(ours, theirs))
    return values(name)


class Flat(torch.nn.Module):
    """A backbone whose maps stand side by side in one row."""

    def __init__(self, vit):
        super().__init__()
        self.vit, self.prompt = vit, vit.prompt

    def forward(self, batch):
        return [torch.cat([out.flatten(1) for out in self.vit(batch)], dim=1)]


def build(variant, query_dims=None, **options):
    settings = META['variants'][variant]
    zero = settings.get('zero_mlp_delta_f', False)
    if settings['pooling'] == 'maps':
        maps = dict(out_type='featmap', out_indices=META['out_indices'])
        options = dict(maps, final_norm=False, **options)
    vit = golden_backbone(
        GOLDEN,
        prompt=dict(
            type='RefiningPrompt',
            num_tokens=5,
            rank=3 if settings['form'] == 'lora' else None,
            softmax=settings.get('use_softmax', True),
            zero_init=zero,
            query_dims=query_dims,
        ),
        layer_scale_init_value=1.0,
        **options,
    )
    for name, parameter in vit.prompt.named_parameters():
        value = released(lambda key: GOLDEN[f'prompt/{key}'], name)
        assert parameter.shape == value.shape, name
        parameter.data = value.clone()
    return vit


@pytest.mark.parametrize('variant', META['variants'])
def test_golden_features_and_gradients(variant):
    vit = build(variant)
    if META['variants'][variant]['pooling'] == 'maps':
        vit = Flat(vit)
    assert_golden(GOLDEN, variant, vit, released)


@pytest.mark.parametrize(
    'variant', sorted({k.split('/')[0] for k in GOLDEN if k.endswith('/queries')})
)
def test_golden_queries(variant):
    prompt = build(variant, query_dims=META['query_dims']).prompt
    queries = prompt.queries()
    expected = GOLDEN[f'{variant}/queries']
    torch.testing.assert_close(queries, expected, rtol=0, atol=1e-10)
    cosine = torch.cos(0.5 * torch.arange(queries.shape[1]).double())
    loss = queries.square().sum() + (queries * cosine).sum()
    tuned = dict(prompt.named_parameters())
    grads = torch.autograd.grad(loss, tuned.values(), allow_unused=True)
    for name, grad in zip(tuned, grads):
        if grad is None:
            assert name.startswith(('token_proj', 'feature_proj', 'scale'))
            continue
        want = released(lambda key: GOLDEN[f'{variant}/grad_queries/{key}'], name)
        top = float(want.abs().max())
        torch.testing.assert_close(grad, want, rtol=1e-8, atol=1e-9 * top)


def refined(prompt, i, x):
    """The formula, patch by patch and token by token."""
    tokens = prompt.layer_tokens(i)
    out = []
    for row in x:
        weights = torch.stack([row @ token for token in tokens]) / math.sqrt(len(row))
        weights = weights.exp() / weights.exp().sum()
        change = sum(
            weight * F.linear(token, prompt.token_proj.weight, prompt.token_proj.bias)
            for weight, token in zip(weights[1:], tokens[1:])
        )
        out.append(row + prompt.scale * prompt.feature_proj(change + row))
    return torch.stack(out)


@pytest.mark.parametrize('pooling', ['cls', 'patches'])
@pytest.mark.parametrize('layers', [None, [1]])
def test_literal_equation(pooling, layers):
    changes = dict(layers=layers)
    vit = small('refining', prompt=changes, pooling=pooling, final_norm=False).double()
    batch = images(dtype=torch.float64)
    x, _ = vit.embed(batch)
    for i, layer in enumerate(vit.layers):
        x = x + layer.attn(layer.ln1(x))
        x = layer.ffn(layer.ln2(x), identity=x)
        if layers is None or i in layers:
            patches = [refined(vit.prompt, i, row) for row in x[:, 1:]]
            x = torch.cat([x[:, :1], torch.stack(patches)], dim=1)
    out = x[:, 0] if pooling == 'cls' else x[:, 1:].mean(1)
    fast = vit(batch)
    # With CLS what stands behind the last layer has no gradient at all.
    assert_same(vit, fast, [out]) if pooling == 'patches' else None
    torch.testing.assert_close(fast[0], out, rtol=0, atol=1e-10)


def test_order_of_tokens_and_the_sink():
    prompt = RefiningPrompt(5, rank=None, scale_init=1.0, **HOST).double()
    patches = torch.randn(2, 16, 24, dtype=torch.float64)
    before = prompt.refine(1, patches)
    prompt.tokens.data = prompt.tokens.data[:, [0, 3, 1, 4, 2]]
    torch.testing.assert_close(prompt.refine(1, patches), before, rtol=0, atol=1e-12)
    prompt.tokens.data = prompt.tokens.data[:, [1, 0, 2, 3, 4]]
    assert (prompt.refine(1, patches) - before).abs().max() > 1e-4


def test_scale_zero_is_the_frozen_vit():
    vit, plain = small('refining').double(), small(None).double()
    plain.load_state_dict(vit.state_dict(), strict=False)
    vit.prompt.scale.data.zero_()
    batch = images(dtype=torch.float64)
    torch.testing.assert_close(vit(batch)[0], plain(batch)[0], rtol=0, atol=1e-14)


def test_factors_are_the_tokens():
    low = RefiningPrompt(5, rank=3, **HOST)
    plain = RefiningPrompt(5, rank=None, **HOST)
    state = {k: v for k, v in low.state_dict().items() if not k.startswith('token_')}
    plain.load_state_dict(state, strict=False)
    plain.token_proj.load_state_dict(low.token_proj.state_dict())
    plain.tokens.data = low.token_rows.data @ low.token_basis.data
    patches = torch.randn(2, 16, 24)
    torch.testing.assert_close(low.refine(2, patches), plain.refine(2, patches))


def test_last_tokens_do_not_reach_cls():
    vit = small('refining').double()
    vit(images(dtype=torch.float64))[0].square().sum().backward()
    assert (
        vit.prompt.token_rows.grad[:2].any() and not vit.prompt.token_rows.grad[2].any()
    )


@pytest.mark.parametrize(
    ('dims', 'layers', 'counts'),
    [
        (1024, 24, {16: 2_990_081, None: 5_016_065}),
        (768, 12, {16: 1_741_569, None: 2_496_513}),
        (384, 12, {16: 684_033, None: 1_051_905}),
    ],
)
def test_counts(dims, layers, counts):
    host = dict(embed_dims=dims, num_layers=layers, patch_grid=(2, 2), patch_size=16)
    for rank, count in counts.items():
        prompt = RefiningPrompt(rank=rank, query_dims=256, **host)
        assert sum(p.numel() for p in prompt.parameters()) == count
    without = RefiningPrompt(rank=16, **host)
    assert not any('query' in name for name, _ in without.named_parameters())
    if dims == 1024:
        assert sum(p.numel() for p in without.parameters()) == 2_530_817
        assert without.token_rows.max().item() == pytest.approx(0.0818, abs=1e-4)
        assert without.layer_tokens(0).std().item() == pytest.approx(0.009, rel=0.1)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_tokens=1), 'at least 2, got 1'),
        (dict(rank=0), 'rank must be an integer of at least 1'),
        (dict(rank=5), 'rank must be below 5'),
        (dict(num_tokens=40, rank=24), 'rank must be below 24'),
        (dict(zero_init=True, scale_init=0.001), 'zero_init has no scale'),
        (dict(query_dims=0), 'query_dims must be an integer of at least 1'),
        (dict(layers=[]), 'at least one'),
        (dict(layers=[2, 1]), 'ascending numbers from 0 to 2'),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        RefiningPrompt(**{**dict(num_tokens=5, rank=3), **options}, **HOST)


def test_what_the_backbone_refuses():
    for pooling in ('prompts', 'prompts_and_patches'):
        with pytest.raises(UserError, match=pooling):
            small('refining', pooling=pooling)
    with pytest.raises(ValueError, match='never get a gradient'):
        small('refining', out_type='featmap', out_indices=(0, 1))
