# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""SPT against figures of the authors' code, and its draws and windows literally."""

import warnings

import pytest
import torch

from mmvpt.errors import UserError
from mmvpt.models.prompts import SelfPrompt
from mmvpt.models.prompts.self_prompt import windows
from mmvpt.models.vit import FrozenHost
from tests.models.golden import assert_golden, golden_backbone, load_golden
from tests.models.prompted import build as small
from tests.models.prompted import images

GOLDEN = load_golden('spt_golden')
HOST = dict(embed_dims=24, num_layers=3, patch_grid=(4, 4), patch_size=8)


def build(variant):
    kind, depth, *sampling = variant.split('_')
    return golden_backbone(
        GOLDEN,
        prompt=dict(
            type='SelfPrompt',
            num_tokens=5,
            depth=depth,
            sampling=''.join(sampling) or 'random',
        ),
        pooling='prompts_and_patches' if kind == 'mae' else 'cls',
        norm_before_pool=kind != 'mae',
    )


def tokens_of(variant, prompt):
    return GOLDEN[f'prompt/{variant}/prompt_token'].reshape(prompt.tokens.shape)


@pytest.mark.parametrize('variant', GOLDEN['meta']['variants'])
@pytest.mark.parametrize('split', [100, 3, 1])
def test_golden_start(variant, split, monkeypatch):
    """In whatever batches the images come."""
    vit = build(variant)
    rows = []

    def draw(i, count):
        rows.append(GOLDEN[f'init/{variant}/rows/{i}'])
        assert len(rows) == i + 1 and rows[-1].max() < count
        return rows[-1]

    monkeypatch.setattr(vit.prompt, 'draw', draw)
    chosen = GOLDEN['init/images'][GOLDEN[f'init/{variant}/chosen_images']]
    batches = [(part, None) for part in chosen.split(split)]
    vit.prompt.initialise(FrozenHost(vit), batches)
    expected = tokens_of(variant, vit.prompt)
    torch.testing.assert_close(vit.prompt.tokens.data, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize('variant', GOLDEN['meta']['variants'])
def test_golden_features_and_gradients(variant):
    vit = build(variant)
    vit.prompt.tokens.data = tokens_of(variant, vit.prompt)
    assert_golden(GOLDEN, variant, vit, lambda values, name: values('prompt_token'))


def test_golden_patches():
    vit = build('sup_deep_random')
    host, pool = FrozenHost(vit), GOLDEN['init/images']
    first = host.embed(pool, positions=False)
    torch.testing.assert_close(first, GOLDEN['init/patches/0'], rtol=0, atol=1e-11)
    for i, seen in enumerate(host.trace(pool)):
        patches = seen['tokens'][:, 1:]
        if i == 0:
            assert torch.equal(seen['tokens'], host.embed(pool))
        else:
            expected = GOLDEN[f'init/patches/{i}']
            torch.testing.assert_close(patches, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(('count', 'num_tokens'), [(16, 5), (17, 5), (7, 3), (4, 5)])
def test_windows_literally(count, num_tokens):
    patches = torch.randn(2, count, 3)
    width = count // (num_tokens - 1)
    rest = count % width
    for sampling, pool in (('mean', torch.mean), ('max', torch.amax)):
        got = windows(patches, num_tokens, sampling)
        for b in range(2):
            for p in range(num_tokens - 1):
                part = patches[b, p * width : p * width + width]
                torch.testing.assert_close(got[b, p], pool(part, 0))
            last = patches[b, count - rest :] if rest else patches[b]
            torch.testing.assert_close(got[b, -1], pool(last, 0))


def test_draws_are_a_function_of_seed_and_layer():
    prompt, twin = SelfPrompt(4, **HOST), SelfPrompt(4, **HOST)
    torch.manual_seed(1)
    rows = [prompt.draw(i, 50) for i in range(3)]
    torch.manual_seed(2)
    assert all(torch.equal(a, twin.draw(i, 50)) for i, a in enumerate(rows))
    assert all(len(set(a.tolist())) == 4 and a.max() < 50 for a in rows)
    assert not torch.equal(rows[0], rows[1])
    twin.init_seed = 7
    assert not torch.equal(twin.draw(0, 50), rows[0])


def test_images_it_asks_for():
    assert SelfPrompt(4, **HOST).init_images == 12
    assert SelfPrompt(4, depth='shallow', **HOST).init_images == 4
    assert SelfPrompt(4, num_images=9, **HOST).init_images == 9


def test_training_without_a_start_says_so_once():
    vit = small('self-prompt')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        vit.eval()(images())
    with pytest.warns(UserWarning, match='plain VPT. Add default_hooks.prompt_init'):
        vit.train()(images())
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        vit(images())
        loaded = small('self-prompt', seed=1)
        loaded.load_state_dict(vit.state_dict())
        loaded.train()(images())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(sampling='kmeans'), "'random', 'mean', 'max'; got 'kmeans'"),
        (dict(sampling='mean', depth='shallow'), "or depth='deep'"),
        (dict(sampling='max', num_tokens=1), 'at least 2; got 1'),
        (dict(depth='flat'), "'deep', 'shallow'; got 'flat'"),
        (dict(num_images=0), 'num_images must be an integer of at least 1'),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        SelfPrompt(**{**dict(num_tokens=4), **options, **HOST})


def test_too_few_rows_and_bad_images_are_refused():
    vit = small('self-prompt', prompt=dict(num_tokens=17))
    with pytest.raises(UserError, match='num_tokens=17 rows cannot be drawn from 16'):
        vit.prompt.initialise(FrozenHost(vit), [(images(1), None)])
    before = vit.prompt.tokens.detach().clone()
    with pytest.raises(UserError, match='not finite'):
        vit.prompt.initialise(FrozenHost(vit), [(images(2) / 0, None)])
    assert torch.equal(vit.prompt.tokens, before)
    mean = small('self-prompt', prompt=dict(num_tokens=18, sampling='mean'))
    with pytest.raises(UserError, match='16 patches cannot be cut into'):
        mean.prompt.initialise(FrozenHost(mean), [(images(2), None)])
