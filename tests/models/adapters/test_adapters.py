# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Baselines that change frozen modules: exact, counted, and trained alone."""

import copy

import pytest
import torch
import torch.nn.functional as F

from mmvpt.models import tunable
from mmvpt.models.vit import PromptedVisionTransformer

ARCH = dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32)
LORA = dict(type='LoRA', rank=3, alpha=6, parts=('query', 'value'))
KEY = dict(type='LoRA', rank=2, parts=('key',))
PLUS = dict(type='AdapterPlus', rank=3)
SSF = dict(type='SSF')
DEEP = dict(type='DeepPrompt', num_tokens=4)
ADAPTERS = pytest.mark.parametrize('adapter', [LORA, KEY, PLUS, SSF], ids=str)


def build(adapter, **options):
    """Return a ViT in float64 whose adapter is no identity."""
    torch.manual_seed(0)
    options = {'arch': ARCH, 'img_size': 16, 'patch_size': 4, **options}
    vit = PromptedVisionTransformer(adapter=adapter, **options).double().eval()
    for name, parameter in vit.named_parameters():
        if '.adapter.' in name or name.endswith('bias'):
            torch.nn.init.normal_(parameter, std=0.5)
    return vit


def merged(vit, adapter, **options):
    """Return a plain ViT whose weights hold what the adapter does, literally."""
    plain = build(None, **options)
    state = {n: v.clone() for n, v in vit.state_dict().items() if '.adapter.' not in n}
    changes = {n: v for n, v in vit.state_dict().items() if '.adapter.' in n}
    if adapter['type'] == 'LoRA':
        scale = adapter.get('alpha', adapter['rank']) / adapter['rank']
        for i in range(3):
            name = f'layers.{i}.attn.qkv'
            for p, part in enumerate(adapter['parts']):
                row = 16 * ('query', 'key', 'value').index(part)
                up = changes[f'{name}.adapter.up'][p]
                down = changes[f'{name}.adapter.down'][p]
                state[f'{name}.weight'][row : row + 16] += scale * up @ down
    else:
        for name in [n[: -len('.adapter.scale')] for n in changes if 'scale' in n]:
            scale = changes[f'{name}.adapter.scale']
            weight = state[f'{name}.weight']
            state[f'{name}.weight'] = weight * scale.view(-1, *[1] * (weight.dim() - 1))
            bias = state[f'{name}.bias'] * scale + changes[f'{name}.adapter.shift']
            state[f'{name}.bias'] = bias
    plain.load_state_dict(state)
    return plain


@pytest.mark.parametrize('adapter', [LORA, KEY, SSF], ids=str)
@pytest.mark.parametrize('out_type', ['cls_token', 'featmap'])
def test_linear_adapters_equal_a_vit_with_merged_weights(adapter, out_type):
    vit = build(adapter, out_type=out_type)
    plain = merged(vit, adapter, out_type=out_type)
    images = torch.randn(2, 3, 16, 20, dtype=torch.float64)
    assert not torch.allclose(
        plain(images)[0], build(None, out_type=out_type)(images)[0]
    )
    torch.testing.assert_close(vit(images), plain(images), rtol=1e-10, atol=1e-10)


def test_adapter_plus_follows_its_formula():
    vit = build(PLUS)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    x, _ = vit.embed(images)
    for layer in vit.layers:
        a = layer.ffn.adapter
        del layer.ffn._forward_hooks[next(iter(layer.ffn._forward_hooks))]
        y = layer(x)
        branch = F.gelu(y @ a.down.T + a.down_bias) @ a.up.T + a.up_bias
        x = y + a.scale * branch
    expected = vit.ln1(x)[:, 0]
    torch.testing.assert_close(build(PLUS)(images)[0], expected, rtol=1e-10, atol=1e-10)


@ADAPTERS
def test_rows_that_nobody_reads_change_nothing(adapter):
    """Every row through every module, whose hooks then change all of its output."""
    vit = build(adapter)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    x, _ = vit.embed(images)
    for layer in vit.layers:
        attn = layer.attn
        query, seen = attn.qkv(layer.ln1(x)).tensor_split([16], dim=-1)
        x = x + attn.proj(attn.attend(query, seen))
        x = layer.ffn(layer.ln2(x), x)
    expected = vit.ln1(x)[:, 0]
    torch.testing.assert_close(vit(images)[0], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('adapter', [LORA, KEY, SSF], ids=str)
def test_with_prompts_and_activation_checkpointing(adapter):
    vit = build(adapter, prompt=DEEP, with_cp=True).train()
    plain = merged(vit, adapter, prompt=DEEP)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(vit(images), plain(images), rtol=1e-10, atol=1e-10)


@ADAPTERS
def test_only_the_adapter_trains_and_frozen_names_stay(adapter):
    vit = build(adapter).train()
    frozen = build(None).state_dict().keys()
    tuned = set(tunable.tuned_names(vit))
    assert vit.state_dict().keys() - tuned == frozen
    vit(torch.randn(2, 3, 16, 16, dtype=torch.float64))[0].square().sum().backward()
    for name, parameter in vit.named_parameters():
        assert (parameter.grad is not None) == (name in tuned), name
        if name in tuned:
            assert parameter.grad.abs().sum() > 0, name


@ADAPTERS
def test_a_copy_changes_by_its_own_parameters(adapter):
    vit = build(adapter)
    images = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    before = vit(images)[0]
    twin = copy.deepcopy(vit)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if '.adapter.' in name:
                parameter.mul_(1.5)
    torch.testing.assert_close(vit(images)[0], before, rtol=0, atol=0)
    assert not torch.allclose(twin(images)[0], before)


def test_lora_starts_as_the_frozen_vit():
    torch.manual_seed(0)
    options = dict(arch=ARCH, img_size=16, patch_size=4)
    vit = PromptedVisionTransformer(adapter=dict(type='LoRA'), **options).eval()
    state = {n: v for n, v in vit.state_dict().items() if '.adapter.' not in n}
    plain = PromptedVisionTransformer(**options).eval()
    plain.load_state_dict(state)
    images = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(vit(images), plain(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ('adapter', 'count'),
    [
        (dict(type='LoRA', rank=8), 12 * 2 * 2 * 8 * 768),
        (dict(type='AdapterPlus', rank=8), 12 * (2 * 8 * 768 + 8 + 2 * 768)),
        # four widths C, one 3C and one 4C in a layer; patch embedding and final norm
        (dict(type='SSF'), 2 * (12 * 11 + 2) * 768),
    ],
)
def test_counts_of_vit_base(adapter, count):
    with torch.device('meta'):
        vit = PromptedVisionTransformer(arch='vit-b', adapter=adapter)
    assert tunable.count_parameters(vit)[0] == count


def test_layers_that_do_not_run_are_left_alone():
    for adapter in (LORA, PLUS, SSF):
        vit = build(adapter, out_indices=1, out_type='featmap')
        assert not [n for n in vit.state_dict() if 'layers.2' in n and 'adapter' in n]
        assert not any(
            'ln1.adapter' in n and 'layers' not in n for n in vit.state_dict()
        )


@pytest.mark.parametrize(
    ('adapter', 'message'),
    [
        (dict(type='LoRA', rank=0), 'rank must be'),
        (dict(type='LoRA', parts=()), 'parts must be'),
        (dict(type='LoRA', parts=('output',)), 'parts must be'),
        (dict(type='LoRA', parts='query'), 'parts must be'),
        (dict(type='LoRA', drop_rate=1.0), 'drop_rate must be'),
        (dict(type='AdapterPlus', rank=1.5), 'rank must be'),
        (dict(type='AdapterPlus', drop_path_rate=-0.1), 'drop_path_rate must be'),
    ],
)
def test_bad_options(adapter, message):
    with pytest.raises(ValueError, match=message):
        build(adapter)
