# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Every family in every layout behind every prefix is read as what it is."""

import pytest
import torch

from mmvpt.errors import UserError
from mmvpt.weights import convert
from tests.weights import layouts
from tests.weights.layouts import HEADS, architecture, weights
from tests.weights.sources import source

PREFIXES = (
    '',
    'module.',
    '_orig_mod.',
    'module._orig_mod.',
    'model.',
    'backbone.',
    'net.',
    'model.backbone.',
    'student.encoder.',
    'vision_model.',
)
CLIP = dict(pre_norm=True, patch_bias=False, norm_eps=1e-5, patch_size=8)
VIT = architecture('vit', patch_size=8)
# Name, architecture, layout, format, options that the keys leave open.
ROWS = [
    ('vit', VIT, 'timm', 'timm', {}),
    ('vit', VIT, 'npz', 'google', {}),
    ('vit', VIT, 'hf4', 'vit-hf', {}),
    ('vit', VIT, 'hf5', 'vit-hf', {}),
    ('vit', VIT, 'mmpretrain', 'mmpretrain', {}),
    ('vit', VIT, 'mmseg', 'mmseg', {}),
    *(
        ('clip', architecture('vit', **CLIP), layout, name, dict(activation='gelu'))
        for layout, name in (
            ('openai', 'clip-openai'),
            ('hf_tower', 'clip-hf'),
            ('timm', 'timm'),
            ('mmpretrain', 'mmpretrain'),
        )
    ),
    *(
        (
            f'{family}{act or ""}',
            architecture(family, **(act and dict(activation=act) or {})),
            layout,
            name,
            {},
        )
        for family in ('dinov2', 'dinov2-reg')
        for act in (None, 'swiglu')
        for layout, name in (
            ('timm', 'timm'),
            ('release', 'dinov2'),
            ('hf4', 'dinov2-hf'),
            ('hf5', 'dinov2-hf'),
            ('mmpretrain', 'mmpretrain'),
        )
    ),
    *(
        (
            f'dinov3{"".join(map(str, changes.values()))}',
            architecture('dinov3', **changes),
            layout,
            name,
            {},
        )
        for changes in ({}, dict(activation='swiglu'), dict(qkv_bias=False))
        for layout, name in (
            ('timm_eva', 'timm'),
            ('release', 'dinov3'),
            ('hf4', 'dinov3-hf'),
            ('hf5', 'dinov3-hf'),
            ('mmpretrain', 'mmpretrain'),
        )
    ),
    *(
        ('siglip', architecture('siglip'), layout, name, options)
        for layout, name, options in (
            ('timm', 'timm', dict(activation='gelu_tanh')),
            ('hf_tower', 'siglip-hf', {}),
            ('npz', 'siglip-npz', {}),
            ('npz_stacked', 'siglip-npz', {}),
            ('mmpretrain', 'mmpretrain', dict(activation='gelu_tanh')),
        )
    ),
    (
        'naflex',
        architecture('siglip', interpolate_mode='bilinear-antialias'),
        'naflex',
        'siglip-hf',
        {},
    ),
    *(
        (f'eva02{act}', architecture('eva02', activation=act, **more), layout, name, {})
        for act in ('swiglu', 'swiglu_norm')
        for layout, name, more in (
            ('timm_eva', 'timm', dict(norm_before_pool=False)),
            ('release', 'eva02', {}),
            ('mmpretrain', 'mmpretrain', {}),
        )
    ),
    *(
        ('eva02-clip', architecture('eva02-clip'), layout, name, {})
        for layout, name in (
            ('timm_eva', 'timm'),
            ('release', 'eva02'),
            ('mmpretrain', 'mmpretrain'),
        )
    ),
    *(
        ('pe-core', architecture('pe-core'), layout, name, {})
        for layout, name in (
            ('timm', 'timm'),
            ('pe', 'pe'),
            ('mmpretrain', 'mmpretrain'),
        )
    ),
]


@pytest.mark.parametrize(
    ('name', 'arch', 'layout', 'format', 'options'),
    ROWS,
    ids=[f'{row[0]}-{row[2]}' for row in ROWS],
)
def test_every_family_in_every_layout(name, arch, layout, format, options):
    state = weights(arch)
    given = getattr(layouts, layout)(state, arch)
    for prefix in PREFIXES if '/' not in ''.join(given) else ('',):
        inside = {prefix + key: value for key, value in given.items()}
        if prefix not in ('', 'module.', '_orig_mod.', 'module._orig_mod.'):
            inside['classifier.weight'] = torch.ones(2, 2)  # other parts of a model
        found = convert(source(inside), num_heads=HEADS, **options)
        assert (found.format, found.architecture.family) == (format, arch.family)
        eps = dict(vars(arch), **({'norm_eps': 1e-12} if format == 'vit-hf' else {}))
        eps.update({'norm_eps': None} if format == 'mmseg' else {}, **options)
        assert vars(found.architecture) == eps, prefix
        assert set(found.state) == set(state), prefix
        for key, value in state.items():
            assert torch.equal(found.state[key], value), (prefix, key)


def _drop(state, *starts):
    return {k: v for k, v in state.items() if not k.startswith(starts)}


def clip_in_timms_names():
    arch = architecture('vit', **CLIP)
    return layouts.timm(weights(arch), arch)


def siglip_in_timms_names():
    arch = architecture('siglip')
    return layouts.timm(weights(arch), arch)


def perception_encoder():
    arch = architecture('pe-core')
    return layouts.timm(weights(arch), arch)


def aimv2():
    arch = architecture('siglip', activation='swiglu', pooling='patches')
    return {
        **layouts.timm(weights(arch), arch),
        'patch_embed.norm.weight': torch.ones(24),
    }


def dinov3(**changes):
    arch = architecture('dinov3', **changes)
    return layouts.timm_eva(weights(arch), arch)


def vit_with(**more):
    arch = architecture('vit', patch_size=8)
    return {**layouts.timm(weights(arch), arch), **more}


def keyless_plain_mlp():
    state = vit_with()
    for i in range(2):
        bias = state.pop(f'blocks.{i}.attn.qkv.bias')
        state[f'blocks.{i}.attn.q_bias'] = state[f'blocks.{i}.attn.v_bias'] = bias[:24]
    return state


AMBIGUOUS = {
    'CLIP has one of two activations': (clip_in_timms_names, 'gelu or quick_gelu'),
    'so has SigLIP in timm': (siglip_in_timms_names, 'gelu_tanh or gelu'),
    'a SigLIP without its pool': (
        lambda: _drop(siglip_in_timms_names(), 'attn_pool'),
        'no class token and no attention pool.*siglip.*--family',
    ),
    'a CLIP cut short': (
        lambda: _drop(clip_in_timms_names(), 'norm.'),
        'Perception Encoder, or a CLIP.*--family',
    ),
    'another number of registers': (
        lambda: dinov3(num_registers=1),
        'register tokens, but not.*dinov3.*--family',
    ),
    'two models in one': (
        lambda: {
            **{f'student.{k}': v for k, v in vit_with().items()},
            **{f'teacher.{k}': v for k, v in vit_with().items()},
        },
        "2 sets of weights.*--prefix 'student.'.*--prefix 'teacher.'",
    ),
    'rope-vit': (
        lambda: _drop(dinov3(), 'reg_token'),
        'no positions and no register tokens',
    ),
    'registers without a class token': (
        lambda: _drop(dinov3(), 'cls_token'),
        'register tokens and no class token',
    ),
    'EVA-1 and BEiT': (
        keyless_plain_mlp,
        'biases of queries and values, none of keys, and a plain MLP',
    ),
    'a perception encoder of size G': (
        lambda: _drop(perception_encoder(), 'cls_token'),
        'Perception Encoder G',
    ),
    'AIMv2 in timm': (aimv2, r'a norm of the patches .*\(AIMv2\), which is not'),
    'AIMv2 of Apple': (
        lambda: {'preprocessor.patchifier.proj.weight': torch.ones(24, 3, 8, 8)},
        'the format is unknown .it has the layers of AIMv2',
    ),
    'one without its final norm': (
        lambda: _drop(perception_encoder(), 'norm.'),
        'a norm before the layers and none behind them: Perception Encoder',
    ),
    'distillation': (
        lambda: vit_with(dist_token=torch.ones(1, 1, 24)),
        'a distillation token',
    ),
    'tokens beside the layers': (
        lambda: {
            **{f'vit.{k}': v for k, v in _drop(vit_with(), 'cls_token').items()},
            'reg_token': torch.ones(1, 4, 24),
        },
        '1 unexpected: reg_token',
    ),
}


@pytest.mark.parametrize('name', AMBIGUOUS)
def test_what_fits_two_or_none_is_refused(name):
    build, message = AMBIGUOUS[name]
    with pytest.raises(UserError, match=f'(?s){message}'):
        convert(source(build()), num_heads=HEADS)


def test_options_decide_and_must_fit():
    gap = _drop(siglip_in_timms_names(), 'attn_pool')
    options = dict(num_heads=HEADS, family='siglip', activation='gelu')
    found = convert(source(gap), **options)
    assert found.architecture.pooling == 'patches'
    assert found.architecture.backbone_options()['act'] == 'gelu'
    with pytest.raises(UserError, match="not of the family 'dinov3': they fit vit"):
        convert(source(vit_with()), num_heads=HEADS, family='dinov3')
    with pytest.raises(UserError, match="'eva' is unknown; known are vit, dinov2"):
        convert(source(vit_with()), num_heads=HEADS, family='eva')
    both = {f'{n}.{k}': v for n in 'ab' for k, v in vit_with().items()}
    assert convert(source(both), num_heads=HEADS, prefix='b').state
    with pytest.raises(UserError, match='behind --prefix c.*Keys of the file: a'):
        convert(source(both), num_heads=HEADS, prefix='c')
    one = convert(source(dinov3(num_registers=1)), num_heads=HEADS, family='dinov3')
    assert one.architecture.backbone_options()['num_registers'] == 1


def test_dinov3_masks_the_bias_of_keys_and_rounds_its_periods():
    arch = architecture('dinov3')
    state = layouts.release(weights(arch), arch)
    periods = 100 ** (torch.arange(6) / 6)
    for given, dtype in ((periods, None), (periods.bfloat16().float(), 'bfloat16')):
        state['rope_embed.periods'] = given
        options = convert(source(state), num_heads=1).architecture.backbone_options()
        assert options.get('rope_dtype') == dtype
    other = dict(state)
    other['rope_embed.periods'] = 2 * state['rope_embed.periods']
    with pytest.raises(UserError, match='another base'):
        convert(source(other), num_heads=HEADS)
    mask = dict(state)
    mask['blocks.0.attn.qkv.bias_mask'] = torch.zeros(72)
    with pytest.raises(UserError, match='bias_mask is not 1 for query'):
        convert(source(mask), num_heads=HEADS)


def test_names_of_sizes_are_printed():
    options = architecture(
        'dinov3',
        embed_dims=768,
        num_layers=12,
        num_heads=12,
        feedforward_channels=3072,
        qkv_bias=False,
    ).backbone_options()
    assert options == dict(arch='dinov3-b', qkv_bias=False)
    plus = dict(embed_dims=384, num_layers=12, num_heads=6, feedforward_channels=1536)
    gated = architecture('dinov3', activation='swiglu', **plus).backbone_options()
    assert gated == dict(arch='dinov3-s+')
    assert architecture('dinov3', **plus).backbone_options() == dict(arch='dinov3-s')


def test_options_without_effect_are_errors():
    gated = architecture('dinov3', activation='swiglu')
    state = layouts.timm_eva(weights(gated), gated)
    with pytest.raises(UserError, match='SwiGLU.*leave --activation out'):
        convert(source(state), num_heads=HEADS, activation='gelu')
    with pytest.raises(UserError, match='no positions; leave --grid out'):
        convert(source(state), num_heads=HEADS, grid='4x4')
