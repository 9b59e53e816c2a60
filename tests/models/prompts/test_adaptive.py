# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""VAPT: the paper's equations, variants, other grids, initialisation, errors."""

import math

import pytest
import torch
import torch.nn.functional as F

from mmvpt.models.prompts import AdaptivePrompt
from mmvpt.models.vit import PromptedVisionTransformer
from tests.models.naive import naive_forward


def make(num_tokens=3, dims=8, layers=2, grid=(14, 14), **options):
    """Build a prompt module alone, with random parameters, in eval mode."""
    torch.manual_seed(0)
    if options.get('bottleneck', 8) is None:
        options = dict(dict(mlp_drop_rate=0.0), **options)
    if options.get('kernel_size', 2) is None:
        options = dict(dict(conv_drop_rate=0.0), **options)
    if options.get('static_layers', 1) == 0:
        options = dict(dict(drop_rate=0.0), **options)
    prompt = AdaptivePrompt(
        num_tokens,
        embed_dims=dims,
        num_layers=layers,
        patch_grid=grid,
        patch_size=16,
        **options,
    ).double()
    for parameter in prompt.parameters():
        parameter.data = parameter.data + 0.3 * torch.randn_like(parameter)
    return prompt.eval()


ACTIVATIONS = {
    'relu': lambda x: x.clamp(min=0),
    'gelu': lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    'sigmoid': lambda x: 1 / (1 + torch.exp(-x)),
    'softmax': lambda x: torch.exp(x) / torch.exp(x).sum(-1, keepdim=True),
    None: lambda x: x,
}
OPTIONS = {
    'released': {},
    'paper': dict(residual=False, token_bias=False, static_layers=0),
    'two static layers': dict(static_layers=2),
    'padding': dict(padding=1),
    'large kernel': dict(kernel_size=5, padding=2),
    'no convolution': dict(kernel_size=None),
    'kernel for each channel': dict(shared_kernel=False),
    'no projector': dict(bottleneck=None),
    'projector for each layer': dict(shared_projector=False, learnable_scale=True),
    'scale': dict(learnable_scale=True),
    **{f'activation {a}': dict(activation=a) for a in ACTIVATIONS if a != 'relu'},
}


def literal(prompt, a, patches, grid, options):
    """Steps 1 to 6 of the released generator with loops, one value at a time."""
    batch, _, dims = patches.shape
    norm = prompt.norms[a]
    x = patches - patches.mean(-1, keepdim=True)
    z = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    image = (z * norm.weight + norm.bias).reshape(batch, *grid, dims)
    if prompt.kernels is not None:
        kernel = prompt.kernels[a]
        k, pad = kernel.shape[-1], options.get('padding', 0)
        padded = torch.zeros(
            batch, grid[0] + 2 * pad, grid[1] + 2 * pad, dims, dtype=z.dtype
        )
        padded[:, pad : pad + grid[0], pad : pad + grid[1]] = image
        rows, columns = (n + 2 * pad - k + 1 for n in grid)
        image = torch.zeros(batch, rows, columns, dims, dtype=z.dtype)
        for h in range(rows):
            for w in range(columns):
                for u in range(k):
                    for v in range(k):
                        image[:, h, w] += kernel[..., u, v] * padded[:, h + u, w + v]
    positions = image.reshape(batch, -1, dims)
    out = torch.zeros(batch, prompt.num_tokens, dims, dtype=z.dtype)
    for j in range(prompt.num_tokens):
        for s in range(positions.shape[1]):
            out[:, j] += prompt.token_weights[a, j, s] * positions[:, s]
        if prompt.token_biases is not None:
            out[:, j] += prompt.token_biases[a, j]
    if prompt.reduce is None:
        return out
    shared = options.get('shared_projector', True)
    w1, w2 = ((m if shared else m[a]).weight for m in (prompt.reduce, prompt.expand))
    activation = ACTIVATIONS[options.get('activation', 'relu')]
    mlp = activation(out @ w1.T) @ w2.T
    if prompt.scales is not None:
        mlp = mlp * prompt.scales[0 if shared else a]
    return out + mlp if options.get('residual', True) else mlp


@pytest.mark.parametrize('options', OPTIONS.values(), ids=OPTIONS)
def test_literal_generator(options):
    prompt = make(layers=4, grid=(5, 6), **options)
    static = options.get('static_layers', 1)
    patches = torch.randn(2, 30, 8, dtype=torch.float64)
    for i in range(4):
        got = prompt(i, patches, (5, 6))
        if i < static:
            want = prompt.tokens if static == 1 else prompt.tokens[i]
            assert torch.equal(got, want[None])
        else:
            want = literal(prompt, i - static, patches, (5, 6), options)
            torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    prompt.zero_grad()
    sum(prompt(i, patches, (5, 6)).square().sum() for i in range(4)).backward()
    for name, parameter in prompt.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_convolution_and_projection_collapse():
    prompt = make(grid=(6, 7), kernel_size=3, padding=1)
    z = torch.randn(2, 42, 8, dtype=torch.float64)
    image = z.mT.reshape(2, 8, 6, 7)
    kernel = prompt.kernels[0].expand(8, 1, 3, 3)
    conv = F.conv2d(image, kernel, padding=1, groups=8).flatten(2)
    expected = torch.einsum('ms,bcs->bmc', prompt.token_weights[0], conv)
    got = prompt.linear_map(0, (6, 7))[0] @ z
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('grid', [(24, 24), (32, 32), (9, 17), (3, 2), (1, 1)])
def test_other_grids(grid):
    """Prompts are those of normed features resized to the training grid."""
    prompt = make()
    prompt.norms[0].weight.data.fill_(1)
    prompt.norms[0].bias.data.fill_(0)
    n = math.prod(grid)
    patches = torch.randn(2, n, 8, dtype=torch.float64)
    normed = F.layer_norm(patches, (8,), eps=1e-5)
    resized = F.interpolate(
        normed.mT.reshape(2, 8, *grid), (14, 14), mode='bilinear', antialias=True
    )
    expected = prompt.linear_map(0, (14, 14))[0] @ resized.flatten(2).mT
    expected = prompt.project(0, expected + prompt.token_biases[0, :, None])
    got = prompt(1, patches, grid)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)

    constant = torch.randn(2, 1, 8, dtype=torch.float64)
    torch.testing.assert_close(
        prompt(1, constant.expand(-1, n, -1), grid),
        prompt(1, constant.expand(-1, 196, -1), (14, 14)),
        rtol=0,
        atol=1e-10,
    )


def host(**changes):
    return dict(
        dict(embed_dims=768, num_layers=12, patch_grid=(14, 14), patch_size=16),
        **changes,
    )


@pytest.mark.parametrize(
    ('options', 'count'),
    [
        (dict(num_tokens=1), 31_866),
        (dict(num_tokens=5), 42_418),
        (dict(num_tokens=10), 55_608),
        (dict(num_tokens=20), 81_988),
        (dict(num_tokens=50), 161_128),
        (dict(num_tokens=100), 293_028),
        (dict(kernel_size=3), 52_913),
        (dict(bottleneck=16), 67_896),
        (dict(kernel_size=5, bottleneck=32), 85_113),
        (dict(kernel_size=None, conv_drop_rate=0.0), 58_534),
        (dict(shared_kernel=False), 89_356),
        (dict(bottleneck=None, mlp_drop_rate=0.0), 43_320),
        (dict(shared_projector=False), 178_488),
    ],
)
def test_counts_of_vit_base(options, count):
    prompt = AdaptivePrompt(**dict(dict(num_tokens=10), **options), **host())
    assert sum(p.numel() for p in prompt.parameters()) == count
    shared = options.get('shared_kernel', True)
    if shared and not {'shared_projector', 'mlp_drop_rate'} & set(options):
        m, k = options.get('num_tokens', 10), options.get('kernel_size', 2)
        r, s = options.get('bottleneck', 8), 196 if k is None else (15 - k) ** 2
        per_layer = 2 * 768 + (k or 0) ** 2 + m * (s + 1)
        assert count == 768 * m + 11 * per_layer + 2 * r * 768


def test_frozen_encoder_of_vit_base_is_counted_as_in_the_release():
    with torch.device('meta'):
        vit = PromptedVisionTransformer(
            prompt=dict(type='AdaptivePrompt', num_tokens=10)
        )
    total = sum(p.numel() for p in vit.parameters())
    assert total == 85_854_264
    assert sum(p.numel() for p in vit.parameters() if p.requires_grad) == 55_608


def test_initialisation():
    torch.manual_seed(0)
    prompt = AdaptivePrompt(50, init='released', **host())
    assert 0.0620 < prompt.tokens.abs().max() <= 0.0625
    assert not prompt.token_weights.any() and not prompt.token_biases.any()
    assert prompt.kernels.std().item() == pytest.approx(1, abs=0.25)
    assert prompt.reduce.weight.abs().max() <= 1 / math.sqrt(768)
    assert 0.35 < prompt.expand.weight.abs().max() <= 1 / math.sqrt(8)
    for norm in prompt.norms:
        assert norm.eps == 1e-5 and (norm.weight == 1).all() and (norm.bias == 0).all()


def test_small_initialisation_is_as_large_as_vpt():
    torch.manual_seed(0)
    prompt = AdaptivePrompt(50, init='small', **host()).eval()
    patches = torch.randn(2, 196, 768)
    stds = [prompt(i, patches, (14, 14)).std().item() for i in range(1, 12)]
    # U(-0.0625, 0.0625) has 0.0361; the norms of single kernels vary.
    assert sum(stds) / 11 == pytest.approx(0.0361, rel=0.3)


def test_average_initialisation_is_what_it_says():
    """Each prompt a positive mean of all positions, of smoothed normed patches."""
    torch.manual_seed(0)
    prompt = AdaptivePrompt(50, **host())
    assert (prompt.kernels == 1 / 4).all()
    assert (prompt.token_weights > 0).all()
    sums = prompt.token_weights.sum(dim=-1)
    assert sums.mean().item() == pytest.approx(1, abs=0.01)
    assert sums.std().item() == pytest.approx(1 / 13, rel=0.1)  # S = 13 * 13


def tiny(**prompt):
    torch.manual_seed(0)
    vit = PromptedVisionTransformer(
        dict(embed_dims=24, num_layers=4, num_heads=3, feedforward_channels=48),
        img_size=32,
        patch_size=8,
        prompt=dict(dict(type='AdaptivePrompt', num_tokens=3), **prompt),
    ).double()
    for name, parameter in vit.named_parameters():
        if not name.startswith('prompt.'):
            parameter.data += 0.2 * torch.randn_like(parameter)
    return vit.eval()


def loss(vit, seed=1):
    images = torch.randn(
        2, 3, 32, 32, generator=torch.Generator().manual_seed(seed)
    ).double()
    feature = vit(images)[0]
    return (feature * torch.cos(torch.arange(24.0).double())).sum()


def test_released_start_is_a_singular_point():
    """Zero prompts: nothing but token weights learns, from amplified gradients."""
    vit = tiny(init='released')
    entered = []
    hook = vit.prompt.register_forward_hook(lambda m, args, out: entered.append(out))
    loss(vit).backward()
    hook.remove()
    assert all(not prompts.any() for prompts in entered[1:])
    grads = {n: p.grad.abs().max().item() for n, p in vit.prompt.named_parameters()}
    for name in ('reduce.weight', 'expand.weight', 'kernels', 'norms.0.weight'):
        assert grads[name] == 0
    assert grads['tokens'] > 0
    assert grads['token_biases'] < 1e-6 * grads['token_weights']

    # The layer's norm at a zero token has the Jacobian 1000 (I - 11^T / C).
    zero = torch.zeros(16, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(
        lambda x: F.layer_norm(x, (16,), eps=1e-6), zero
    )
    expected = 1000 * (torch.eye(16).double() - 1 / 16)
    torch.testing.assert_close(jacobian, expected)

    # So the first step jumps: gradients fall by orders of magnitude after it.
    first = vit.prompt.token_weights.grad.norm()
    with torch.no_grad():
        for parameter in vit.prompt.parameters():
            parameter -= parameter.grad
    vit.zero_grad()
    loss(vit).backward()
    second = vit.prompt.token_weights.grad.norm()
    assert first > 100 * second
    grads = [p.grad.abs().max() for p in vit.prompt.parameters()]
    assert min(grads) > 0

    # With the other starts everything learns at once and the gradient is tame.
    for init in ('average', 'small'):
        safe = tiny(init=init)
        loss(safe).backward()
        assert all(p.grad.abs().max() > 0 for p in safe.prompt.parameters())
        assert safe.prompt.token_weights.grad.norm() < first / 10


def test_homogeneity():
    vit = tiny()
    vit.prompt.token_weights.data *= 50
    vit.prompt.token_biases.data.normal_()
    before = loss(vit)

    def scaled(factor):
        for parameter in (vit.prompt.token_weights, vit.prompt.token_biases):
            parameter.data *= factor
        value = loss(vit)
        for parameter in (vit.prompt.token_weights, vit.prompt.token_biases):
            parameter.data /= factor
        return value

    assert (scaled(7) - before).abs() < 1e-4
    assert (scaled(-1) - before).abs() > 1e-2


def test_prompts_as_keys_and_values_alone():
    vit = tiny()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(
        vit(images), tuple(naive_forward(vit, images)), rtol=0, atol=1e-12
    )


def test_dropout_of_channels():
    """A dropped channel of an image leaves the bias in all of its prompts."""
    prompt = make(dims=400, bottleneck=None, conv_drop_rate=0.3, drop_rate=0.0)
    patches = torch.randn(5, 196, 400, dtype=torch.float64)
    full = prompt(1, patches, (14, 14))
    bias = prompt.token_biases[0, :, None]
    torch.manual_seed(0)
    out = prompt.train()(1, patches, (14, 14))
    dropped = (out == bias).all(1)
    assert torch.equal(dropped, (out == bias).any(1))
    assert dropped.double().mean().item() == pytest.approx(0.3, abs=0.05)
    assert not torch.equal(dropped[0], dropped[1])
    kept = bias + (full - bias) / 0.7
    expected = torch.where(dropped[:, None], bias, kept)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


def test_dropout_of_learned_tokens_leaves_generated_ones_alone():
    off = dict(conv_drop_rate=0.0, mlp_drop_rate=0.0)
    prompt = make(drop_rate=0.5, **off)
    patches = torch.randn(3, 196, 8, dtype=torch.float64)
    generated = prompt(1, patches, (14, 14))
    prompt.train()
    assert torch.equal(prompt(1, patches, (14, 14)), generated)
    first = prompt(0, patches, (14, 14))
    assert first.shape == (3, 3, 8)
    assert 0.2 < (first == 0).double().mean() < 0.8
    hidden = make(drop_rate=0.0, conv_drop_rate=0.0, mlp_drop_rate=0.5).train()
    assert not torch.equal(hidden(1, patches, (14, 14)), generated)


def test_prompts_depend_on_the_image_but_in_the_first_layer():
    prompt = make()
    patches = torch.randn(2, 196, 8, dtype=torch.float64)
    assert prompt(0, patches, (14, 14)).shape == (1, 3, 8)
    generated = prompt(1, patches, (14, 14))
    assert not torch.allclose(generated[0], generated[1])
    order = torch.randperm(196)
    assert not torch.allclose(prompt(1, patches[:, order], (14, 14)), generated)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_tokens=0), 'num_tokens must be .* got 0'),
        (dict(kernel_size=0), 'kernel_size must be .* got 0'),
        (dict(kernel_size=5), r'kernel_size=5 does not fit the patch grid \(4, 4\)'),
        (dict(padding=-1), 'padding must be an integer of at least 0, got -1'),
        (dict(padding=2), 'padding=2 must be below kernel_size=2'),
        (dict(bottleneck=0), 'bottleneck must be an integer of at least 1, got 0'),
        (dict(conv_drop_rate=1), 'conv_drop_rate must be in'),
        (dict(init='zeros'), "init must be one of .*; got 'zeros'"),
        (dict(activation='tanh'), "activation must be one of .* got 'tanh'"),
        (dict(static_layers=4), 'static_layers must be between 0 and 3, got 4'),
        (dict(static_layers=4), 'use DeepPrompt'),
        (dict(depth='shallow'), 'no shallow form.*Use ShallowPrompt'),
        (dict(static_layers=0), 'drop_rate=0.1 has no effect with static_layers=0'),
        (dict(kernel_size=None), 'conv_drop_rate=0.1 has no effect'),
        (
            dict(kernel_size=None, conv_drop_rate=0, padding=1),
            'padding=1 has no effect with kernel_size=None',
        ),
        (dict(bottleneck=None), 'mlp_drop_rate=0.1 has no effect'),
        (
            dict(bottleneck=None, mlp_drop_rate=0, residual=False),
            'residual=False has no effect with bottleneck=None; set it to True',
        ),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_checkpoint_of_another_grid_or_count_is_refused():
    state = tiny().state_dict()
    with pytest.raises(ValueError, match='prompt.token_weights is .* in the checkp'):
        tiny(kernel_size=3).load_state_dict(state)
    with pytest.raises(ValueError, match='prompt.tokens is .* in the checkpoint'):
        tiny(num_tokens=4).load_state_dict(state)
