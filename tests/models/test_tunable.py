# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What trains and what is frozen."""

import pytest
import torch

from mmvpt.models.tunable import (
    TunedBias,
    count_parameters,
    tuned_names,
    tuned_state,
)
from mmvpt.models.vit import PromptedVisionTransformer

ARCH = dict(embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=48)


def build(tunable, **kwargs):
    return PromptedVisionTransformer(
        ARCH, img_size=32, patch_size=8, tunable=tunable, **kwargs
    )


def test_none_trains_nothing():
    assert tuned_names(build('none')) == []


def test_full_trains_everything():
    assert count_parameters(build('full'))[0] == count_parameters(build('full'))[1]


def test_bias_is_every_bias():
    names = tuned_names(build('bias'))
    # patch embedding, final norm, and ln1, qkv, proj, ln2, fc1, fc2 of three layers
    assert len(names) == 2 + 3 * 6
    assert all(name.endswith('.bias') for name in names)


def test_norm_is_every_norm():
    names = tuned_names(build('norm'))
    assert len(names) == 2 * (2 * 3 + 1)
    assert all('ln' in name for name in names)


def test_partial_is_the_last_layers_and_the_final_norm():
    names = tuned_names(build('partial-2'))
    assert {n.split('.')[1] for n in names if n.startswith('layers')} == {'1', '2'}
    assert [n for n in names if not n.startswith('layers')] == [
        'ln1.weight',
        'ln1.bias',
    ]


def test_patterns_match_exact_components():
    assert tuned_names(build(['cls_token', 'layers.*.ln1.bias'])) == [
        'cls_token',
        *[f'layers.{i}.ln1.bias' for i in range(3)],
    ]
    assert tuned_names(build('layers.1.attn.proj.weight')) == [
        'layers.1.attn.proj.weight'
    ]
    with pytest.raises(ValueError, match="'ln1.bia' matches no parameter"):
        build('ln1.bia')
    with pytest.raises(ValueError, match="'layers.bias' matches no parameter"):
        build('layers.bias')  # one component is missing


def test_parts_of_the_fused_bias_are_parameters_of_their_own():
    parts = ['layers.*.attn.qkv.bias.key', 'layers.*.attn.qkv.bias.value']
    vit = build(parts)
    assert tuned_names(vit) == [
        f'layers.{i}.attn.tuned_bias.{part}'
        for i in range(3)
        for part in ('key', 'value')
    ]
    assert count_parameters(vit)[0] == 3 * 2 * 24
    assert 'layers.0.attn.qkv.bias' in vit.state_dict()


def test_tuned_parts_act_as_the_bias_itself():
    torch.manual_seed(0)
    vit = build('layers.*.attn.qkv.bias.value').double()
    plain = build('none').double()
    plain.load_state_dict(vit.state_dict(), strict=False)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert torch.equal(vit(images)[0], plain(images)[0])
    for layer, other in zip(vit.layers, plain.layers):
        delta = torch.randn(24, dtype=torch.float64)
        layer.attn.tuned_bias.value.data = delta
        other.attn.qkv.bias.data[48:] += delta
    torch.testing.assert_close(vit(images)[0], plain(images)[0], rtol=0, atol=1e-12)


def test_a_part_is_not_added_to_a_bias_that_trains_whole():
    vit = build(['bias', 'layers.0.attn.qkv.bias.key'])
    assert not any('tuned_bias' in name for name in tuned_names(vit))


def test_parts_need_a_fused_bias():
    with pytest.raises(ValueError, match='matches no parameter'):
        build('layers.*.attn.qkv.bias.key', qkv_bias=False)


def test_tuned_bias_adds_zero_where_nothing_trains():
    tuned = TunedBias(2, ['key'])
    tuned.key.data = torch.tensor([1.0, 2.0])
    assert tuned(torch.zeros(6)).tolist() == [0, 0, 1, 2, 0, 0]


def test_tuned_state_is_what_training_writes():
    vit = build('cls', prompt=dict(type='DeepPrompt', num_tokens=2))
    state = tuned_state(vit, vit.state_dict())
    assert set(state) == {'cls_token', 'prompt.tokens'}


def test_final_norm_sources():
    assert tuned_names(build('none', final_norm='fresh-trained')) == [
        'ln1.weight',
        'ln1.bias',
    ]
    for source in ('fresh-frozen', 'pretrained', True):
        assert tuned_names(build('none', final_norm=source)) == []


@pytest.mark.parametrize('name', ['partial-1x', 'partial-', 'Partial-1', 'biases'])
def test_nearly_a_preset(name):
    with pytest.raises(ValueError, match=f"'{name}' matches no parameter"):
        build(name)
