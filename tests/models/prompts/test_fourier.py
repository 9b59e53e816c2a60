# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""VFPT against figures of the authors' code and against its equation."""

import math

import pytest
import torch

from mmvpt.errors import UserError
from mmvpt.models.prompts import FourierPrompt
from mmvpt.models.prompts.fourier import AXES, real_fourier
from tests.models.golden import assert_golden, golden_backbone, load_golden, vpt_tokens
from tests.models.prompted import build as small
from tests.models.prompted import images

GOLDEN = load_golden('vfpt_golden')
OPTIONS = GOLDEN['meta']['options']
HOST = dict(embed_dims=24, num_layers=3, patch_grid=(4, 4), patch_size=8)


def released(values, name):
    if name == 'tokens':
        return vpt_tokens(values)
    return values(name.replace('linear', 'FT'))


def build(variant):
    options = OPTIONS[variant]
    depth = 'deep' if options['deep'] else 'shallow'
    prompt = dict(
        type='FourierPrompt',
        num_tokens=5,
        depth=depth,
        fourier_layers=options['fourier_layers'] if options['deep'] else None,
        **{k: options[k] for k in ('ratio', 'dimension', 'transform')},
    )
    norm = 'norm'
    if options['kind'] == 'mae':
        norm = None if 'identity' in variant else 'fc_norm'
    vit = golden_backbone(
        GOLDEN,
        norm=norm,
        prompt=prompt,
        pooling=options['pooling'],
        norm_before_pool=options['kind'] != 'mae',
    )

    def value(key):
        if depth == 'shallow' and key.startswith('deep'):
            raise KeyError(key)
        return GOLDEN[f'prompt/{key}']

    for name, parameter in vit.prompt.named_parameters():
        parameter.data = released(value, name).clone()
    return vit


@pytest.mark.parametrize('variant', GOLDEN['meta']['variants'])
def test_golden_features_and_gradients(variant):
    assert_golden(GOLDEN, variant, build(variant), released)


@pytest.mark.parametrize(
    'variant', sorted({n.split('/')[0] for n in GOLDEN if '/prompts_block' in n})
)
def test_golden_prompts(variant):
    """The norm hides a wrong scale in the features."""
    vit = build(variant)
    entering = []
    vit.prompt.register_forward_hook(lambda m, args, out: entering.append(out))
    vit(GOLDEN['images'])
    for i, got in enumerate(entering):
        expected = GOLDEN.get(f'{variant}/prompts_block{i}')
        if expected is not None:
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-11)
    assert len(entering) == 8


@pytest.mark.parametrize('dimension', AXES)
def test_the_transform_alone(dimension):
    x, expected = GOLDEN['transform/input'], GOLDEN[f'transform/{dimension}']
    for way in (real_fourier, torch.compile(real_fourier, backend='eager')):
        got = way(x, AXES[dimension])
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    half = real_fourier(x.bfloat16(), AXES[dimension])
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), expected, rtol=0, atol=0.3)


def test_literal_equation():
    prompt = FourierPrompt(5, ratio=0.7, **HOST).double().eval()
    tokens = prompt.tokens[1]
    f = math.floor(5 * 0.7)
    literal = tokens.clone().detach()
    for k in range(f):
        for j in range(24):
            literal[k, j] = sum(
                tokens[m, c] * math.cos(2 * math.pi * (k * m / f + j * c / 24))
                for m in range(f)
                for c in range(24)
            )
    patches = torch.zeros(2, 16, 24)
    torch.testing.assert_close(
        prompt(1, patches, (4, 4))[0], literal, rtol=0, atol=1e-12
    )
    # Row k and row f - k mirror each other.
    for k in range(1, f):
        mirrored = literal[f - k].roll(-1).flip(0)
        torch.testing.assert_close(literal[k], mirrored, rtol=0, atol=1e-12)


def test_half_of_the_transformed_parameters_are_dead():
    vit = small('fourier', prompt=dict(num_tokens=8, ratio=0.75)).double()
    vit(images(dtype=torch.float64))[0].square().sum().backward()
    for grad in vit.prompt.tokens.grad:
        even = grad[:6].flip((0, 1)).roll((1, 1), (0, 1))  # at -m, -c
        torch.testing.assert_close(grad[:6], even, rtol=0, atol=1e-14)
        assert grad[6:].abs().min() > 0
    odd = torch.randn(6, 24, dtype=torch.float64)
    odd = odd - odd.flip((0, 1)).roll((1, 1), (0, 1))
    assert real_fourier(odd, (-2, -1)).abs().max() < 1e-12


def test_start_scale_and_counts():
    host = dict(embed_dims=768, num_layers=12, patch_grid=(14, 14), patch_size=16)
    prompt = FourierPrompt(10, ratio=1, **host).eval()
    assert prompt.tokens.numel() == 92_160 and 0.062 < prompt.tokens.max() <= 0.0625
    with torch.no_grad():
        rows = prompt(0, torch.zeros(1, 1, 768), (1, 1))
    assert rows.std().item() == pytest.approx(2.27, rel=0.1)
    linear = FourierPrompt(10, transform='linear', **host).linear
    assert linear.weight.std().item() == pytest.approx((2 / 768) ** 0.5, rel=0.02)
    shallow = FourierPrompt(10, depth='shallow', **host)
    assert sum(p.numel() for p in shallow.parameters()) == 7_680
    assert FourierPrompt(5, **HOST).num_fourier == 2


@pytest.mark.parametrize('depth', ['deep', 'shallow'])
def test_ratio_zero_is_vpt(depth):
    plain = small(depth)
    vit = small('fourier', prompt=dict(num_tokens=3, ratio=0, depth=depth))
    vit.load_state_dict(plain.state_dict())
    assert torch.equal(vit(images())[0], plain(images())[0])


def test_dropout_comes_first_and_is_drawn_for_each_image():
    prompt = FourierPrompt(4, ratio=0.5, drop_rate=0.5, **HOST)
    patches = torch.zeros(2, 16, 24)
    torch.manual_seed(1)
    got = prompt(0, patches, (4, 4))
    torch.manual_seed(1)
    dropped = prompt.dropout(prompt.tokens[0].expand(2, -1, -1))
    expected = torch.cat([real_fourier(dropped[:, :2], (-2, -1)), dropped[:, 2:]], 1)
    assert torch.equal(got, expected) and not torch.equal(got[0], got[1])
    assert prompt.eval()(0, patches, (4, 4)).shape == (1, 4, 24)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(ratio=1.1), r'ratio must be in \[0, 1\], got 1.1'),
        (dict(num_tokens=1), 'Raise num_tokens or ratio'),
        (dict(dimension='rows'), "'hidden', 'sequence'; got 'rows'"),
        (dict(ratio=0, dimension='hidden'), 'would do nothing'),
        (dict(ratio=0, transform='linear'), 'would do nothing'),
        (dict(transform='linear', dimension='hidden'), 'Leave out one'),
        (dict(transform='cosine'), "'fourier', 'linear'; got 'cosine'"),
        (dict(depth='flat'), "'deep', 'shallow'; got 'flat'"),
        (dict(fourier_layers=[]), 'at least one'),
        (dict(fourier_layers=[1, 0]), 'ascending numbers from 0 to 2'),
        (dict(fourier_layers=[3]), 'ascending numbers from 0 to 2'),
        (dict(fourier_layers=[0], depth='shallow'), "set depth='deep'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(UserError, match=message):
        FourierPrompt(**{**dict(num_tokens=4), **options, **HOST})
