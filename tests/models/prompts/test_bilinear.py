# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""BPT against figures of the authors' code and against its equations."""

import pytest
import torch

from mmvpt.errors import UserError
from mmvpt.models.prompts import BilinearPrompt
from mmvpt.models.prompts.bilinear import columns_of, whitening
from mmvpt.models.tunable import tuned_state
from tests.models.golden import assert_golden, golden_backbone, load_golden
from tests.models.prompted import build as small
from tests.models.prompted import images

GOLDEN = load_golden('bpt_golden')
HOST = dict(embed_dims=24, num_layers=3, patch_grid=(4, 4), patch_size=8)
VIT_B = dict(embed_dims=768, num_layers=12, patch_grid=(14, 14), patch_size=16)


def released(values, name):
    if name == 'factors':
        return values('random_vectors').squeeze(0)
    try:
        return values('conv1x1.weight')[..., 0, 0]
    except KeyError:
        bases = [values(f'conv1x1.{i}.weight') for i in range(3)]
        return torch.stack(bases)[..., 0, 0]


def build(variant, **options):
    kind, depth = variant.split('_')
    vit = golden_backbone(
        GOLDEN,
        prompt=dict(
            type='BilinearPrompt', num_tokens=4, rank=6, depth=depth, **options
        ),
        pooling='cls' if kind == 'sup' else 'prompts_and_patches',
        norm_before_pool=kind == 'sup',
    )
    factors = GOLDEN['prompt/random_vectors']
    bases = torch.stack([GOLDEN[f'prompt/conv1x1.{i}.weight'] for i in range(3)])
    bases = bases[..., 0, 0]
    if depth == 'shallow':
        factors, bases = factors[0], bases[0]
    vit.prompt.factors.data = factors
    fixed = vit.prompt.num_fixed
    if fixed:
        vit.prompt.fixed_bases.copy_(bases[:fixed])
    vit.prompt.bases.data = bases[fixed:]
    return vit


@pytest.mark.parametrize('variant', GOLDEN['meta']['variants'])
def test_golden_features_and_gradients(variant):
    vit = build(variant)
    assert_golden(GOLDEN, variant, vit, released)
    for i, expected in enumerate(GOLDEN[f'{variant}/prompts']):
        got = vit.prompt.rows(i, 1)[0]
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_untuned_bases_get_no_gradient_and_are_saved():
    vit, whole = build('sup_deep', tuned_bases=1), build('sup_deep')
    x = GOLDEN['images']
    torch.testing.assert_close(vit(x)[0], whole(x)[0], rtol=0, atol=1e-12)
    for model in (vit, whole):
        model(x)[0].square().sum().backward()
    torch.testing.assert_close(vit.prompt.bases.grad, whole.prompt.bases.grad[2:])
    state = tuned_state(vit, vit.state_dict())
    assert set(state) == {'prompt.factors', 'prompt.bases', 'prompt.fixed_bases'}
    other = small('bilinear-deep')
    twin = small('bilinear-deep', seed=1)
    assert not torch.equal(twin(images())[0], other(images())[0])
    twin.load_state_dict(other.state_dict())
    assert torch.equal(twin(images())[0], other(images())[0])


@pytest.mark.parametrize('variant', ['sup_deep', 'mae_shallow'])
def test_golden_whitening(variant):
    for i, expected in enumerate(GOLDEN[f'init/{variant}/whitening']):
        query, key = GOLDEN[f'init/q_{i + 1}'], GOLDEN[f'init/k_{i + 1}']
        if variant == 'mae_shallow':  # as released: the query is read twice
            key = query
        got = whitening(query, key, GOLDEN[f'init/x_{i}'])
        top = float(expected.abs().max())
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-9 * top)
        chosen = columns_of(got, GOLDEN[f'init/noise_{i}'], 6)
        torch.testing.assert_close(
            chosen, GOLDEN[f'init/{variant}/conv1x1'][i], rtol=0, atol=1e-9 * top
        )


def test_whitening_of_the_paper():
    torch.manual_seed(0)
    query, key = torch.randn(2, 8, 8, dtype=torch.float64)
    tokens = torch.randn(5, 6, 8, dtype=torch.float64)
    got = whitening(query, key, tokens, samples='tokens')
    vectors = [query.mT @ key @ x for image in tokens for x in image]
    covariance = sum(torch.outer(x, x) for x in vectors) / len(vectors)
    torch.testing.assert_close(got, got.mT)
    torch.testing.assert_close(
        got @ covariance @ got, torch.eye(8).double(), rtol=0, atol=1e-9
    )


def test_singular_whitening_needs_a_floor():
    weights = torch.randn(2, 8, 8, dtype=torch.float64)
    tokens = torch.randn(50, 5, 8, dtype=torch.float64)
    with pytest.raises(UserError, match='5 token vectors of 8 channels'):
        whitening(*weights, tokens)
    floored = whitening(*weights, tokens, floor=1e-6)
    values = torch.linalg.eigvalsh(floored)
    assert float(values[-1] / values[0]) == pytest.approx(1e3, rel=1e-3)
    assert whitening(*weights, tokens, samples='tokens').isfinite().all()


def test_whiten_sets_columns_of_one_layer():
    prompt = BilinearPrompt(3, rank=5, depth='deep', tuned_bases=1, **HOST).double()
    before = [prompt.basis(i).detach().clone() for i in range(3)]
    weights = torch.randn(2, 24, 24, dtype=torch.float64)
    tokens = torch.randn(9, 17, 24, dtype=torch.float64)
    prompt.whiten(1, *weights, tokens)
    whole = whitening(*weights, tokens, 'tokens', 1e-6)
    got = prompt.basis(1)
    columns = [int((whole - c[:, None]).abs().sum(0).argmin()) for c in got.T]
    assert len(set(columns)) == 5 and torch.equal(got, whole[:, columns])
    for i in (0, 2):
        assert torch.equal(prompt.basis(i), before[i])


def test_start_and_counts():
    def count(**options):
        prompt = BilinearPrompt(**options, **VIT_B)
        return sum(p.numel() for p in prompt.parameters())

    assert count(num_tokens=100) == 65_100
    deep = dict(num_tokens=50, rank=50, depth='deep', tuned_bases=4)
    assert count(**deep) == 183_600
    assert count(num_tokens=100, rank=None, tuned_bases=0) == 76_800
    assert count(num_tokens=100, rank=None) == 666_624
    prompt = BilinearPrompt(100, **VIT_B)
    assert prompt.factors.std().item() == pytest.approx(0.02, rel=0.05)
    assert 0.084 < prompt.bases.max() <= 0.0844
    assert prompt.rows(0, 1).std().item() == pytest.approx(0.0084, rel=0.05)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(rank=0), 'rank must be an integer from 1 to the 24 channels'),
        (dict(rank=25), 'got 25'),
        (dict(tuned_bases=1), 'shallow ones have a single basis'),
        (dict(tuned_bases=4, depth='deep'), 'from 0 to the 3 layers'),
        (dict(tuned_bases=-1, depth='deep'), 'got -1'),
        (dict(init='zero'), "'random', 'whitened'; got 'zero'"),
        (dict(depth='flat'), "'deep', 'shallow'; got 'flat'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(UserError, match=message):
        BilinearPrompt(**{**dict(num_tokens=3, rank=5), **options, **HOST})
