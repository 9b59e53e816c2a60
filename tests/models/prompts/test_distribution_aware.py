# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""DistributionAwarePrompt: shapes, initialisation, the map, refusals."""

import math

import pytest
import torch

from mmvpt.models.prompts import DistributionAwarePrompt
from mmvpt.models.tunable import tuned_names
from mmvpt.models.vit import PromptedVisionTransformer

ARCH = dict(embed_dims=24, num_layers=4, num_heads=3, feedforward_channels=48)


def build(**options):
    options = {**dict(num_classes=9, num_guided_tokens=3, num_tokens=2), **options}
    prompt = dict(type='DistributionAwarePrompt', **options)
    return PromptedVisionTransformer(ARCH, img_size=32, patch_size=8, prompt=prompt)


def alone(**options):
    host = dict(embed_dims=768, num_layers=12, patch_grid=(14, 14), patch_size=16)
    options = {**dict(num_classes=200, num_guided_tokens=10, num_tokens=10), **options}
    return DistributionAwarePrompt(**options, **host)


def test_rows_in_ascending_order_of_layers():
    prompt = build(guided_layers=(-1, 1)).prompt
    assert prompt.guided_layers == (1, 3)
    assert prompt.guided_tokens.shape == (2, 3, 24)
    assert prompt.tokens.shape == (2, 2, 24)
    patches = torch.zeros(5, 16, 24)
    rows = [prompt.tokens[0], prompt.guided_tokens[0]]
    rows += [prompt.tokens[1], prompt.guided_tokens[1]]
    for i, expected in enumerate(rows):
        assert torch.equal(prompt(i, patches, (4, 4)), expected[None])
    assert torch.equal(prompt.proxies(3), prompt.guided_tokens[1])


@pytest.mark.parametrize('divisor', [1, 8])
def test_xavier_initialisation_of_the_whole_tensor(divisor):
    prompt = alone(guided_layers=(10, 11), init_divisor=divisor)
    bound = math.sqrt(6 / ((2 + 10) * 768)) / divisor
    assert bound * divisor == pytest.approx(0.0255155, abs=1e-7)
    assert 0.999 * bound < prompt.guided_tokens.abs().max() <= bound
    std = prompt.guided_tokens.std().item()
    assert std * divisor == pytest.approx(0.01466, rel=0.02)
    bound = math.sqrt(6 / ((10 + 10) * 768)) / divisor
    assert 0.999 * bound < prompt.tokens.abs().max() <= bound


@pytest.mark.parametrize(
    ('options', 'names', 'last'),
    [
        (dict(num_tokens=0), ['prompt.guided_tokens'], 3),
        (dict(num_tokens=0, guided_layers=(1,)), ['prompt.guided_tokens'], 1),
        (dict(num_guided_tokens=0), ['prompt.tokens'], 2),
        (dict(guided_layers='all'), ['prompt.guided_tokens'], 3),
        (dict(guided_layers=()), ['prompt.tokens'], 3),
    ],
)
def test_no_prompts_in_some_layers(options, names, last):
    vit = build(**options)
    assert tuned_names(vit) == names
    assert vit.prompt.last_layer == last
    vit.train()(torch.randn(2, 3, 32, 32))[0].square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in vit.parameters() if p.requires_grad)


@pytest.mark.parametrize('normalize', ['none', 'l2', 'layer'])
def test_normalisation_at_every_use(normalize):
    prompt = build(normalize=normalize).prompt
    entering = prompt(3, torch.zeros(1, 16, 24), (4, 4))[0]
    assert torch.equal(entering, prompt.proxies(3))
    raw = prompt.guided_tokens[0]
    if normalize == 'l2':
        raw = raw / raw.norm(dim=1, keepdim=True)
    elif normalize == 'layer':
        var = raw.var(dim=1, keepdim=True, correction=0)
        raw = (raw - raw.mean(1, keepdim=True)) / (var + 1e-6).sqrt()
        assert prompt.norm.weight.requires_grad
    torch.testing.assert_close(entering, raw)


def test_dropout_enters_layers_but_not_proxies():
    prompt = build(drop_rate=0.5, num_guided_tokens=9).prompt.train()
    entering = prompt(3, torch.zeros(4, 16, 24), (4, 4))
    assert entering.shape == (4, 9, 24)
    assert 0.3 < (entering == 0).double().mean() < 0.7
    assert not torch.equal(entering[0], entering[1])
    assert torch.equal(prompt.proxies(3), prompt.guided_tokens[0])


def test_maps():
    fresh = build().prompt
    assert fresh.class_to_prompt.tolist() == [-1] * 9 and not fresh.map_is_fixed
    own = build(mapping='identity').prompt
    assert own.class_to_prompt.tolist() == list(range(9)) and own.map_is_fixed
    assert own.num_guided_tokens == 9 and own.guided_tokens.shape[1] == 9
    dealt = build(mapping='balanced').prompt
    assert dealt.class_to_prompt.tolist() == [0, 1, 2] * 3 and dealt.map_is_fixed
    # Fewer classes than prompts: each gets one, and M is their number.
    few = build(mapping='auto', num_classes=2).prompt
    assert few.class_to_prompt.tolist() == [0, 1]
    assert few.num_guided_tokens == 2 and few.guided_tokens.shape[1] == 2
    enough = build(mapping='auto', num_classes=3).prompt
    assert enough.class_to_prompt.tolist() == [-1] * 3 and not enough.map_is_fixed


def test_assign_looks_up_or_takes_the_majority():
    prompt = build(num_classes=7).prompt
    prompt.class_to_prompt.copy_(torch.tensor([0, 1, 0, 0, 1, 2, 1]))
    assert prompt.assign(torch.tensor([0, 3, 3, 6, 1])).tolist() == [0, 0, 0, 1, 1]
    several = torch.zeros(4, 7, dtype=torch.bool)
    for row, classes in enumerate([[0, 2, 3, 1], [5], [1, 5], []]):
        several[row, classes] = True
    # A tie between prompts 1 and 2 goes to the lower; no class, no prompt.
    assert prompt.assign(several).tolist() == [0, 2, 1, -1]


def test_state_holds_the_map_and_the_means():
    state = build().state_dict()
    shapes = {
        'class_to_prompt': (9,),
        'centroids': (3, 24),
        'class_sums': (9, 24),
        'class_counts': (9,),
    }
    for name, shape in shapes.items():
        assert state[f'prompt.{name}'].shape == shape
    assert state['prompt.class_sums'].dtype == torch.float64


@pytest.mark.parametrize(
    ('tunable', 'count'),
    [
        ('davpt+', 18_432 + 768),
        (['layers.*.attn.qkv.bias.key', 'layers.*.attn.qkv.bias.value'], 18_432),
        ('davpt-released', 66_048),
    ],
)
def test_counts_of_efficient_bias(tunable, count):
    prompt = dict(type='DistributionAwarePrompt', num_classes=200)
    prompt.update(num_guided_tokens=10, num_tokens=10, guided_layers=(10, 11))
    with torch.device('meta'):
        vit = PromptedVisionTransformer('vit-b', prompt=prompt, tunable=tunable)
    tuned = {n: p for n, p in vit.named_parameters() if p.requires_grad}
    assert tuned['prompt.guided_tokens'].numel() == 15_360
    assert tuned['prompt.tokens'].numel() == 76_800
    assert sum(p.numel() for p in tuned.values()) - 92_160 == count


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_classes=0), 'num_classes must be an integer of at least 1, got 0'),
        (dict(num_tokens=-1), 'num_tokens must be .* got -1'),
        (dict(num_guided_tokens=0, num_tokens=0), 'both 0; leave out the prompt'),
        (dict(normalize='l1'), r"normalize must be one of .*; got 'l1'"),
        (dict(init_divisor=0), 'init_divisor must be positive, got 0'),
        (dict(mapping='random'), r"mapping must be one of .*; got 'random'"),
        (dict(num_classes=2), r"at least as many classes .* mapping='auto'"),
        (dict(num_classes=2, mapping='balanced'), 'at least as many classes'),
        (dict(guided_layers=(4,)), r'different indices of the 4 layers, got \(4,\)'),
        (dict(guided_layers=(3, -1)), r'different indices'),
        (dict(guided_layers='last'), "sequence of indices or 'all', got 'last'"),
        (dict(guided_layers=3), "sequence of indices or 'all', got 3"),
        (dict(drop_rate=1), r'drop_rate must be in \[0, 1\)'),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
