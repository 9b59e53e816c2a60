# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""VIPAMIN against figures of the authors' code, and its equations literally."""

import pytest
import torch

from mmvpt.errors import UserError
from mmvpt.models.prompts import VipaminPrompt
from mmvpt.models.prompts.vipamin import matched, orthogonalised
from mmvpt.models.vit import FrozenHost
from tests.models.golden import assert_golden, golden_backbone, load_golden, vpt_tokens
from tests.models.prompted import build as small
from tests.models.prompted import images

GOLDEN = load_golden('vipamin_golden')
HOST = dict(embed_dims=24, num_layers=3, patch_grid=(4, 4), patch_size=8)
VARIANTS = GOLDEN['meta']['variants']


def build(variant):
    kind, depth, k, share, inverse = variant.split('_')
    return golden_backbone(
        GOLDEN,
        norm='fc_norm' if kind == 'mae' else 'norm',
        prompt=dict(
            type='VipaminPrompt',
            num_tokens=5,
            depth=depth,
            num_matches=int(k[1:]),
            orthogonal=float(share.removeprefix('lambda')),
            inverse=inverse,
        ),
        pooling='prompts_and_patches' if kind == 'mae' else 'cls',
        norm_before_pool=kind != 'mae',
    )


def start(variant, name):
    kind, depth = variant.split('_')[:2]
    value = GOLDEN[f'init/{kind}_{depth}/{name}']
    return value[0] if depth == 'shallow' else value


def held(variant):
    return vpt_tokens(lambda key: GOLDEN[f'prompt/{variant}/{key}'])


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('split', [100, 4])
def test_golden_start(variant, split, monkeypatch):
    if f'prompt/{variant}/prompt_embeddings' not in GOLDEN:
        kind, _, k, share, inverse = variant.split('_')
        share = float(share.removeprefix('lambda'))
        match, orth = (
            start(variant, f'match_{k[1:]}'),
            start(variant, f'orth_{inverse}'),
        )
        expected = (1 - share) * match + share * orth
    else:
        expected = held(variant)
    vit = build(variant)
    vit.prompt.tokens.data = start(variant, 'start').clone()
    kind, depth = variant.split('_')[:2]
    calls = []

    def draw(i):
        calls.append(i)
        return GOLDEN[f'init/{kind}_{depth}/drawn'][i]

    monkeypatch.setattr(vit.prompt, 'draw', draw)
    batches = [(part, None) for part in GOLDEN['init/images'].split(split)]
    vit.prompt.initialise(FrozenHost(vit), batches)
    layers = 1 if depth == 'shallow' else 4
    assert calls == (list(range(layers)) if vit.prompt.orthogonal else [])
    torch.testing.assert_close(vit.prompt.tokens.data, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    'variant', [v for v in VARIANTS if f'prompt/{v}/prompt_embeddings' in GOLDEN]
)
def test_golden_features_and_gradients(variant):
    vit = build(variant)
    vit.prompt.tokens.data = held(variant)
    assert_golden(GOLDEN, variant, vit, lambda values, name: vpt_tokens(values))


@pytest.mark.parametrize('kind', ['mae_shallow', 'moco_deep'])
def test_golden_means(kind):
    """What is read of the host, as it is averaged."""
    vit = build(f'{kind}_k2_lambda0.5_paper')
    vit.prompt.tokens.data = start(kind, 'start').clone()
    host, pool = FrozenHost(vit), GOLDEN['init/images']

    def close(value, name):
        torch.testing.assert_close(
            value, GOLDEN[f'init/{kind}/{name}'], rtol=0, atol=1e-10
        )

    layers = range(len(GOLDEN[f'init/{kind}/start']))
    for i, seen in zip(layers, host.trace(pool, prompted=True)):
        heads = (host.num_heads, -1)
        close(seen['prompt_keys'][0].unflatten(-1, heads).mean(-2), f'prompt_keys/{i}')
        keys = seen['token_keys'][:, 1:].unflatten(-1, heads)
        close(keys.mean((0, -2)), f'patch_keys/{i}')
        close(seen['tokens'][:, 1:].mean(0), f'patches/{i}')
    for i, seen in zip(layers, host.trace(pool)):
        assert seen['prompts'] is None and seen['prompt_keys'] is None
        close(seen['attended'].mean(0), f'attended/{i}')


def test_matching_literally():
    torch.manual_seed(0)
    prompts, keys = torch.randn(3, 4), torch.randn(6, 4)
    patches = torch.randn(6, 5)
    for m, got in enumerate(matched(prompts, keys, patches, 2)):
        cosines = [
            float(prompts[m] @ keys[j] / prompts[m].norm() / keys[j].norm())
            for j in range(6)
        ]
        best = sorted(range(6), key=lambda j: -cosines[j])[:2]
        torch.testing.assert_close(got, (patches[best[0]] + patches[best[1]]) / 2)
    equal = matched(torch.ones(3, 4), torch.ones(6, 4), patches, 2)
    torch.testing.assert_close(equal[0], patches[:2].mean(0))


def test_what_the_missing_transpose_costs():
    torch.manual_seed(0)
    drawn, attended = torch.randn(5, 16).double(), torch.randn(9, 16).double()
    weight, bias = torch.randn(16, 16).double(), torch.randn(16).double()
    basis = torch.linalg.qr(attended.mT)[0]

    def share_inside(inverse, attended=attended):
        tokens = orthogonalised(drawn, attended, weight, bias, inverse)
        values = tokens @ weight.mT + bias
        return float((values @ basis).square().sum() / values.square().sum())

    assert share_inside('paper') < 1e-20
    assert share_inside('released') > 0.1
    # Repeated rows have the same span.
    assert share_inside('paper', attended[[*range(9), 0, 1]]) < 1e-20


def test_draws_and_counts():
    prompt = VipaminPrompt(4, **HOST)
    bound = (6 / (3 * 64 + 24)) ** 0.5
    drawn = prompt.draw(0)
    assert drawn.shape == (4, 24) and 0.9 * bound < drawn.abs().max() <= bound
    assert torch.equal(drawn, VipaminPrompt(4, **HOST).draw(0))
    assert not torch.equal(drawn, prompt.draw(1))
    assert prompt.init_images == 256
    assert prompt.tokens.shape == (4, 24)
    assert VipaminPrompt(4, depth='deep', **HOST).tokens.shape == (3, 4, 24)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_matches=0), 'num_matches must be an integer of at least 1'),
        (dict(orthogonal=1.5), r'orthogonal must be in \[0, 1\], got 1.5'),
        (dict(inverse='left'), "'paper', 'released'; got 'left'"),
        (dict(num_images=0), 'num_images must be an integer of at least 1'),
        (dict(depth='flat'), "'deep', 'shallow'; got 'flat'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        VipaminPrompt(**{**dict(num_tokens=4), **options, **HOST})


def test_too_many_matches_and_too_narrow_hosts_are_refused():
    vit = small('vipamin', prompt=dict(num_matches=17))
    with pytest.raises(UserError, match='num_matches=17, but there are only 16'):
        vit.prompt.initialise(FrozenHost(vit), [(images(), None)])
    vit = small('vipamin')
    wide = images(1, (40, 40))
    with pytest.raises(UserError, match='26 tokens .* 24 channels.*orthogonal=0'):
        vit.prompt.initialise(FrozenHost(vit), [(wide, None)])
    vit = small('vipamin', prompt=dict(orthogonal=0))
    vit.prompt.initialise(FrozenHost(vit), [(wide, None)])
