# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""VAPT against figures of the authors' code (tests/data/vapt_golden.npz), float64."""

import math

import pytest
import torch

from mmvpt.models.prompts import AdaptivePrompt
from tests.models.golden import golden_backbone, load_golden

GOLDEN = load_golden('vapt_golden')
VARIANTS = {
    'sup_deep': dict(pooling='cls'),
    'moco_deep': dict(pooling='cls'),
    'mae_deep': dict(pooling='prompts_and_patches', norm_before_pool=False),
    'mae_deep_img_pool': dict(pooling='patches', norm_before_pool=False),
    'mae_deep_identity_fc_norm': dict(
        pooling='prompts_and_patches', norm_before_pool=False
    ),
}


def released(values, name):
    """Gather a parameter of ours from the released names below a prefix."""
    per_layer = 'deep_prompt_downsample.{}.'
    if name == 'tokens':
        return values('prompt_embeddings')[0]
    if name.startswith('norms.'):
        return values('deep_prompt_' + name.replace('norms', 'norm'))
    if name in ('reduce.weight', 'expand.weight'):
        part = {'reduce.weight': 0, 'expand.weight': 2}[name]
        return values(f'deep_prompt_embeddings_mlp.block.{part}.weight')
    key = {
        'kernels': 'conv.kernel',
        'token_weights': 'linear.weight',
        'token_biases': 'linear.bias',
    }[name]
    layers = [values(per_layer.format(i) + key) for i in range(3)]
    return torch.stack([x[0, 0] if name == 'kernels' else x for x in layers])


def build(variant, **changes):
    norm = 'norm'
    if variant.startswith('mae'):
        norm = None if 'identity' in variant else 'fc_norm'
    vit = golden_backbone(
        GOLDEN,
        prompt=dict(type='AdaptivePrompt', num_tokens=5),
        norm=norm,
        **{**VARIANTS[variant], **changes},
    )
    for name, parameter in vit.prompt.named_parameters():
        value = released(lambda key: GOLDEN[f'prompt/{key}'], name)
        assert parameter.shape == value.shape
        parameter.data = value
    return vit


def test_every_variant_is_checked():
    assert set(VARIANTS) == set(GOLDEN['meta']['variants'])


@pytest.mark.parametrize('variant', VARIANTS)
def test_golden_features_and_gradients(variant):
    vit = build(variant)
    feature = vit(GOLDEN['images'])[0]
    torch.testing.assert_close(
        feature, GOLDEN[f'{variant}/feature'], rtol=0, atol=1e-10
    )
    parameters = dict(vit.prompt.named_parameters())
    inner = 'transformer.' if variant == 'sup_deep' else ''
    cosine = torch.cos(0.5 * torch.arange(48.0).double())
    for kind, loss in {
        'grad': feature.square().sum(),
        'grad_cos': (feature * cosine).sum(),
    }.items():
        if kind == 'grad' and 'identity' in variant:
            continue  # nearly constant there: its gradient is rounding noise
        grads = torch.autograd.grad(loss, parameters.values(), retain_graph=True)
        for name, grad in zip(parameters, grads):
            expected = released(
                lambda key, kind=kind: GOLDEN[f'{variant}/{kind}/{inner}{key}'], name
            )
            top = float(expected.abs().max())
            torch.testing.assert_close(grad, expected, rtol=1e-8, atol=1e-8 * top)


def test_golden_tokens_and_prompts():
    vit = build('moco_deep', out_type='raw', pooling=None, final_norm=False)
    entering = []
    vit.prompt.register_forward_hook(lambda m, args, out: entering.append(out))
    tokens = vit(GOLDEN['images'])[0]
    torch.testing.assert_close(tokens, GOLDEN['moco_deep/tokens'], rtol=0, atol=1e-10)
    assert len(entering) == 4
    for i, got in enumerate(entering):
        expected = GOLDEN[f'moco_deep/prompts_block{i}']
        torch.testing.assert_close(
            got.expand_as(expected), expected, rtol=0, atol=1e-10
        )


def fill(shape, a, b):
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    return (a * torch.sin(b * i + 1)).reshape(shape)


def test_formula_filled_generator():
    """Figures of the released modules on formula-filled parameters."""
    prompt = AdaptivePrompt(
        3, bottleneck=4, embed_dims=8, num_layers=2, patch_grid=(14, 14), patch_size=16
    )
    prompt = prompt.double().eval()
    hidden = fill((2, 1 + 3 + 196, 8), 1, 0.013)
    parameters = {
        'norms.0.weight': 1 + fill((8,), 0.2, 0.7),
        'norms.0.bias': fill((8,), 0.1, 1.3),
        'kernels': fill((1, 2, 2), 1, 0.9),
        'token_weights': fill((1, 3, 169), 0.05, 0.37),
        'token_biases': fill((1, 3), 0.02, 0.5),
        'reduce.weight': fill((4, 8), 0.5, 0.61),
        'expand.weight': fill((8, 4), 0.5, 0.43),
    }
    prompt.load_state_dict(dict(parameters, tokens=torch.zeros(3, 8)))
    gathered = []
    project = prompt.project
    prompt.project = lambda a, x: project(a, gathered.append(x) or x)
    out = prompt(1, hidden[:, 4:], (14, 14))
    rows = {
        (0, 0): '0.0383057007 -0.0762381032 -0.0760456069 0.0617408924 '
        '0.0538913516 -0.0465831003 0.0316705966 0.1669319951',
        (0, 2): '0.0261621049 -0.2063400188 -0.1952117380 0.1430254546 '
        '0.1369500387 -0.1082649577 0.0528776569 0.3401541803',
        (1, 0): '0.0797424133 -0.5656733412 -0.5405029553 0.3344425830 '
        '0.2987404674 -0.3354603682 0.1120355643 0.8765467321',
    }
    for (b, j), row in rows.items():
        want = torch.tensor([float(x) for x in row.split()]).double()
        torch.testing.assert_close(out[b, j], want, rtol=0, atol=1e-6)
    assert gathered[0][0, 0, 0].item() == pytest.approx(-0.0333495643, abs=1e-9)
    assert gathered[0].sum().item() == pytest.approx(-0.0586256714, abs=1e-9)
    assert out.sum().item() == pytest.approx(1.3614328228, abs=1e-9)
    assert out.square().sum().item() == pytest.approx(5.8038636034, abs=1e-9)
    (out.square().sum() / 2).backward()
    kernel = torch.tensor(
        [2.4642691055, 3.5316159429, -1.9567645854, -2.0198529333]
    ).double()
    torch.testing.assert_close(
        prompt.kernels.grad.flatten(), kernel, rtol=1e-6, atol=1e-7
    )
    norms = {
        'token_weights': 268.2800220734,
        'reduce.weight': 3.8080006292,
        'expand.weight': 3.3522360292,
        'norms.0.weight': 2.8705824847,
        'norms.0.bias': 0.2371310072,
    }
    grads = {name: p.grad for name, p in prompt.named_parameters()}
    for name, norm in norms.items():
        assert grads[name].norm().item() == pytest.approx(norm, rel=1e-9)
    assert grads['token_biases'][0].tolist() == pytest.approx(
        [-0.4293516482, -0.4772331282, -0.5315899008], abs=1e-9
    )
