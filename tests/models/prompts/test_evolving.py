# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""PAE against figures of the authors' code, and its equations literally."""

import math

import pytest
import torch
import torch.nn.functional as F

from mmvpt.errors import UserError
from mmvpt.models.prompts import EvolvingPrompt
from mmvpt.models.prompts.evolving import (
    koopman_loss,
    lyapunov_loss,
    spectral_windows,
)
from mmvpt.models.vit import FrozenHost
from tests.models.golden import assert_golden, golden_backbone, load_golden, vpt_tokens
from tests.models.prompted import build as small
from tests.models.prompted import images

GOLDEN = load_golden('pae_golden')
HOST = dict(embed_dims=24, num_layers=4, patch_grid=(4, 4), patch_size=8)


def released(values, name):
    if name == 'tokens':
        return vpt_tokens(values)
    if name == 'lift.weight':
        return values('koopman_in.weight')
    letter = {'koopman': 'K', 'lyapunov': 'L'}[name]
    try:
        return values(f'{letter}_global')
    except KeyError:
        return torch.stack([values(f'{letter}_layers.{p}') for p in range(2)])


def build(variant='sup_global', depth='deep', **options):
    losses = dict(koopman_dims=6, shared=variant == 'sup_global')
    vit = golden_backbone(
        GOLDEN,
        prompt=dict(
            type='EvolvingPrompt',
            num_tokens=4,
            depth=depth,
            window=6,
            stride=3,
            **(losses if depth == 'deep' else {}),
            **options,
        ),
    )
    if depth == 'deep':
        for name, parameter in vit.prompt.named_parameters():
            value = released(lambda key: GOLDEN[f'prompt/{variant}/{key}'], name)
            parameter.data = value.clone()
    return vit


@pytest.mark.parametrize('depth', ['deep', 'shallow'])
@pytest.mark.parametrize('split', [100, 4])
def test_golden_start(depth, split):
    vit = build(depth=depth)
    losses = []

    def loss(images, labels):
        assert not vit.prompt.tokens.any()
        weight = GOLDEN['init/head.last_layer.weight']
        bias = GOLDEN['init/head.last_layer.bias']
        logits = vit(images)[0] @ weight.mT + bias
        losses.append(F.cross_entropy(logits, labels))
        return losses[-1]

    pool, labels = GOLDEN['init/images'], GOLDEN['init/labels']
    batches = list(zip(pool.split(split), labels.split(split)))
    vit.prompt.initialise(FrozenHost(vit, loss), batches)
    expected = GOLDEN[f'init/{depth}/losses']
    torch.testing.assert_close(torch.stack(losses), expected, rtol=0, atol=1e-11)
    masks = GOLDEN[f'init/{depth}/masks']
    assert torch.equal(torch.stack(losses).argsort()[:4], masks)
    tokens = GOLDEN[f'init/{depth}/tokens'].view_as(vit.prompt.tokens)
    torch.testing.assert_close(vit.prompt.tokens.data, tokens, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize('variant', GOLDEN['meta']['variants'])
def test_golden_features_and_losses(variant):
    vit = build(variant)
    assert_golden(GOLDEN, variant, vit, released)
    losses, tuned = vit.prompt.losses(), dict(vit.prompt.named_parameters())
    assert sorted(losses) == ['koopman', 'lyapunov']
    for name, loss in losses.items():
        torch.testing.assert_close(
            loss, GOLDEN[f'{variant}/{name}'], rtol=1e-12, atol=0
        )
        grads = torch.autograd.grad(loss, tuned.values(), allow_unused=True)
        for (key, parameter), grad in zip(tuned.items(), grads):
            begin = f'{variant}/grad_{name}/'
            expected = released(lambda k, begin=begin: GOLDEN[begin + k], key)
            grad = torch.zeros_like(parameter) if grad is None else grad
            atol = 1e-9 * float(expected.abs().max())
            torch.testing.assert_close(grad, expected, rtol=1e-9, atol=atol)


@pytest.mark.parametrize('shared', [True, False])
def test_losses_literally(shared):
    torch.manual_seed(0)
    tokens, lift = torch.randn(5, 3, 4).double(), torch.randn(6, 4).double()
    shape = (6, 6) if shared else (3, 6, 6)
    k, lyapunov = torch.randn(shape).double(), torch.randn(shape).double()
    koopman = growth = 0
    for pair in range(3):
        i = pair + 1
        matrix = k if shared else k[pair]
        root = lyapunov if shared else lyapunov[pair]
        form = root.T @ root
        form = form / (torch.linalg.svdvals(form)[0] + 1e-8)

        def energy(z, form=form):
            z = z / max(float(z.norm()) + 1e-8, 1)
            return z @ form @ z

        errors, rises = [], []
        for m in range(3):
            z, following = lift @ tokens[i, m], lift @ tokens[i + 1, m]
            led = z @ matrix
            errors += ((led - following) ** 2).tolist()
            rises.append(math.log1p(math.exp(energy(led) - energy(z))))
        koopman += sum(errors) / len(errors)
        growth += 10 * math.tanh(sum(rises) / len(rises) / 10)
    assert float(koopman_loss(tokens, lift, k)) == pytest.approx(koopman, rel=1e-12)
    got = lyapunov_loss(tokens, lift, k, lyapunov)
    assert float(got) == pytest.approx(growth, rel=1e-12)


def test_windows_literally():
    x = torch.randn(2, 3, 8, 10).double()
    got = list(spectral_windows(x, 4, 3))
    assert len(got) == 2 * 3
    for a in range(2):
        for b in range(3):
            literal = torch.zeros_like(x, dtype=torch.complex128)
            spectrum = torch.fft.fft2(x)
            for row in range(3 * a, 3 * a + 4):
                for column in range(3 * b, 3 * b + 4):
                    v, u = (row - 4) % 8, (column - 5) % 10
                    literal[..., v, u] = spectrum[..., v, u]
            expected = torch.fft.ifft2(literal).real
            torch.testing.assert_close(got[3 * a + b], expected, rtol=0, atol=1e-12)
    some = list(spectral_windows(x, 4, 3, [4, 1]))
    assert torch.equal(some[0], got[1]) and torch.equal(some[1], got[4])
    (whole,) = spectral_windows(x[..., :8], 8, 8)
    torch.testing.assert_close(whole, x[..., :8])


def test_start_of_what_only_training_reads():
    prompt = EvolvingPrompt(3, koopman_dims=6, **HOST).double()
    assert torch.equal(prompt.koopman, torch.eye(6).double())
    assert prompt.lift.weight.abs().max() <= 24**-0.5
    losses = prompt.losses()
    # Nothing moves: softplus(0) for each of two pairs.
    expected = 0.2 * 2 * 10 * math.tanh(math.log(2) / 10)
    assert float(losses['lyapunov']) == pytest.approx(expected, rel=1e-12)
    grads = torch.autograd.grad(losses['lyapunov'], [prompt.tokens, prompt.koopman])
    assert not grads[0].any() and grads[1].any()
    (grad,) = torch.autograd.grad(losses['koopman'], prompt.tokens)
    assert not grad[0].any() and grad[1:].any()  # layer 0 is in no pair
    plain = EvolvingPrompt(3, koopman_weight=0, lyapunov_weight=0, **HOST)
    assert [n for n, _ in plain.named_parameters()] == ['tokens']
    assert plain.losses() == {}
    alone = EvolvingPrompt(3, lyapunov_weight=0, koopman_dims=6, **HOST)
    assert alone.lyapunov is None and sorted(alone.losses()) == ['koopman']
    layerwise = EvolvingPrompt(3, koopman_dims=6, shared=False, **HOST)
    assert layerwise.koopman.shape == layerwise.lyapunov.shape == (2, 6, 6)


def test_one_dropout_mask_for_the_batch():
    prompt = EvolvingPrompt(8, init='uniform', drop_rate=0.5, **HOST)
    rows = prompt(0, torch.zeros(3, 16, 24), (4, 4))
    assert rows.shape == (1, 8, 24) and (rows == 0).any()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(init='random'), "'mpa', 'uniform'; got 'random'"),
        (dict(stride=0), 'stride must be an integer of at least 1'),
        (dict(window=0), 'window must be an integer of at least 1'),
        (dict(koopman_weight=-1), 'must not be negative, got -1'),
        (dict(koopman_dims=0), 'koopman_dims must be'),
        (dict(depth='shallow', koopman_dims=8), 'koopman_dims are options of losses'),
        (dict(depth='shallow', shared=False), 'shared are options of losses'),
        (dict(num_layers=2), 'a ViT of 2 layers has no such pair'),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        EvolvingPrompt(**{**dict(num_tokens=4), **HOST, **options})


def test_what_a_start_cannot_be_made_of():
    vit = small('evolving', prompt=dict(num_tokens=10))
    host = FrozenHost(vit, lambda x, y: vit(x)[0].mean())
    labels = torch.zeros(2, dtype=torch.long)
    with pytest.raises(UserError, match="no labels. Set init='uniform'"):
        vit.prompt.initialise(host, [(images(), None)])
    with pytest.raises(UserError, match='32 x 32 pixels have 9 frequency windows'):
        vit.prompt.initialise(host, [(images(), labels)])
    vit.prompt.window = 40
    with pytest.raises(UserError, match='have 0 frequency windows of side 40'):
        vit.prompt.initialise(host, [(images(), labels)])
    vit = small('evolving')
    with pytest.raises(UserError, match='has no loss'):
        vit.prompt.initialise(FrozenHost(vit), [(images(), labels)])
    host = FrozenHost(vit, lambda x, y: vit(x)[0].mean())
    with pytest.warns(UserWarning, match='Set drop_rate above 0'):
        vit.prompt.initialise(host, [(images(), labels)])
