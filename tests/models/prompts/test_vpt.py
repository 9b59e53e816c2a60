# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""VPT against figures of the authors' code (tests/data/vpt_golden.npz), float64."""

import math

import pytest
import torch

from mmvpt.models.prompts import ShallowPrompt
from mmvpt.models.vit import PromptedVisionTransformer
from tests.models.golden import golden_backbone, load_golden

GOLDEN = load_golden('vpt_golden')
POOLINGS = {
    'sup': dict(pooling='cls'),
    'moco': dict(pooling='cls'),
    'mae': dict(pooling='prompts_and_patches', norm_before_pool=False),
    'mae_img_pool': dict(pooling='patches', norm_before_pool=False),
    'mae_prompt_pool': dict(pooling='prompts', norm_before_pool=False),
}


def build(variant, **changes):
    family, depth, *rest = variant.split('_')
    pooling = '_'.join([family, *rest])
    identity = pooling.endswith('identity_fc_norm')
    norm = {'mae': 'fc_norm'}.get(family, 'norm')
    tokens = GOLDEN['prompt/prompt_embeddings'][0]
    options = POOLINGS['mae' if identity else pooling]
    prompt = dict(type='ShallowPrompt', num_tokens=len(tokens))
    if depth == 'deep':
        prompt['type'] = 'DeepPrompt'
        tokens = torch.cat([tokens[None], GOLDEN['prompt/deep_prompt_embeddings']])
    vit = golden_backbone(
        GOLDEN, prompt=prompt, norm=None if identity else norm, **{**options, **changes}
    )
    vit.prompt.tokens.data = tokens
    return vit


def golden_gradient(variant, kind):
    prefix = 'transformer.' if variant.startswith('sup') else ''
    grad = GOLDEN[f'{variant}/{kind}/{prefix}prompt_embeddings'][0]
    if 'deep' in variant:
        deep = GOLDEN[f'{variant}/{kind}/{prefix}deep_prompt_embeddings']
        grad = torch.cat([grad[None], deep])
    return grad


@pytest.mark.parametrize('variant', GOLDEN['meta']['variants'])
def test_golden_features_and_gradients(variant):
    vit = build(variant)
    images = GOLDEN['images']
    feature = vit(images)[0]
    torch.testing.assert_close(
        feature, GOLDEN[f'{variant}/feature'], rtol=0, atol=1e-10
    )
    losses = {
        'grad': feature.square().sum(),
        'grad_cos': (feature * torch.cos(0.5 * torch.arange(48.0).double())).sum(),
    }
    for kind, loss in losses.items():
        if kind == 'grad' and 'identity' in variant:
            continue  # nearly constant there: its gradient is rounding noise
        (grad,) = torch.autograd.grad(loss, vit.prompt.tokens, retain_graph=True)
        expected = golden_gradient(variant, kind)
        top = float(expected.abs().max())
        torch.testing.assert_close(grad, expected, rtol=1e-8, atol=1e-8 * top)


@pytest.mark.parametrize('variant', GOLDEN['meta']['variants'])
def test_golden_tokens_and_prompts(variant):
    changes = dict(out_type='raw', pooling=None, final_norm=False)
    vit = build(variant, **changes)
    entering = []
    for layer in vit.layers:
        layer.ln1.register_forward_pre_hook(lambda m, args: entering.append(args[0]))
    tokens = vit(GOLDEN['images'])[0]
    torch.testing.assert_close(tokens, GOLDEN[f'{variant}/tokens'], rtol=0, atol=1e-10)
    prompts = [x[:, -5:].expand(3, -1, -1) for x in entering if x.shape[1] != 17]
    assert len(prompts) == 4
    for i, got in enumerate(prompts):
        expected = GOLDEN[f'{variant}/prompts_block{i}']
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def arch(**changes):
    return dict(
        dict(embed_dims=48, num_layers=4, num_heads=4, feedforward_channels=96),
        **changes,
    )


@pytest.mark.parametrize('kind', ['ShallowPrompt', 'DeepPrompt'])
def test_initialisation_and_counts(kind):
    vit = PromptedVisionTransformer(
        arch(embed_dims=768, num_heads=12), prompt=dict(type=kind, num_tokens=50)
    )
    tokens = vit.prompt.tokens
    assert tokens.shape == ((50, 768) if kind == 'ShallowPrompt' else (4, 50, 768))
    assert 0.0620 < tokens.abs().max() <= 0.0625
    assert tokens.std().item() == pytest.approx(0.0625 / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize('kind', ['ShallowPrompt', 'DeepPrompt'])
def test_projection(kind):
    prompt = dict(type=kind, num_tokens=7, project_dims=16)
    vit = PromptedVisionTransformer(arch(), img_size=32, patch_size=8, prompt=prompt)
    module = vit.prompt
    assert module.tokens.shape[-1] == 16
    assert module.tokens.abs().max() <= math.sqrt(6 / (3 * 64 + 16))
    # Kaiming normal, fan_out: std = sqrt(2 / 48).
    assert module.projection.weight.std().item() == pytest.approx(0.204, rel=0.1)
    rows = module.tokens if kind == 'ShallowPrompt' else module.tokens[0]
    entered = module(0, torch.zeros(2, 16, 48), (4, 4))
    torch.testing.assert_close(entered[0], module.projection(rows))
    vit(torch.randn(2, 3, 32, 32))[0].sum().backward()
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize('kind', ['ShallowPrompt', 'DeepPrompt'])
def test_dropout_is_drawn_for_each_image(kind):
    prompt = dict(type=kind, num_tokens=400, drop_rate=0.25)
    vit = PromptedVisionTransformer(arch(), img_size=32, patch_size=8, prompt=prompt)
    patches = torch.zeros(3, 16, 48)
    entered = vit.train().prompt(0, patches, (4, 4))
    assert entered.shape == (3, 400, 48)
    assert not torch.equal(entered[0] == 0, entered[1] == 0)
    assert (entered == 0).double().mean().item() == pytest.approx(0.25, abs=0.01)
    tokens = vit.prompt.tokens if kind == 'ShallowPrompt' else vit.prompt.tokens[0]
    kept = entered[0] != 0
    torch.testing.assert_close(entered[0][kept], (tokens / 0.75)[kept])
    assert vit.eval().prompt(0, patches, (4, 4)).shape == (1, 400, 48)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_tokens=-1), 'num_tokens must be an integer of at least 1, got -1'),
        (dict(num_tokens=1.5), 'got 1.5'),
        (dict(num_tokens=1, drop_rate=1.0), r'drop_rate must be in \[0, 1\), got 1.0'),
        (dict(num_tokens=1, project_dims=0), 'project_dims .* got 0'),
    ],
)
def test_bad_arguments(options, message):
    for kind in ('ShallowPrompt', 'DeepPrompt'):
        with pytest.raises(ValueError, match=message):
            PromptedVisionTransformer(arch(), prompt=dict(type=kind, **options))


def test_projection_is_drawn_from_a_normal_distribution():
    host = dict(embed_dims=400, num_layers=2, patch_grid=(2, 2), patch_size=8)
    weight = ShallowPrompt(num_tokens=1, project_dims=300, **host).projection.weight
    std = (2 / 400) ** 0.5
    assert abs(weight.std() / std - 1) < 0.02
    assert weight.abs().max() > 3 * std  # a uniform one ends at 1.73


def test_shallow_prompts_serve_a_backbone_that_ends_early():
    arch = dict(embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=48)
    options = dict(out_type='featmap', out_indices=(0, 1), img_size=32, patch_size=8)
    shallow = dict(type='ShallowPrompt', num_tokens=2)
    PromptedVisionTransformer(arch, prompt=shallow, **options)
    with pytest.raises(ValueError, match='never get a gradient'):
        PromptedVisionTransformer(
            arch, prompt=dict(shallow, type='DeepPrompt'), **options
        )
