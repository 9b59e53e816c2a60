# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Converted weights compute what the model they come from computes.

Random weights in double precision, every token after the final norm compared, at the
native image size and at another one. There, timm is given the positions as we resized
them (bicubic without antialias, like mmpretrain); timm's own resize differs by its
antialias, and without that agrees too.
"""

from functools import partial

import numpy as np
import pytest
import torch
from mmpretrain.models.backbones import VisionTransformer as HostViT
from timm.layers import QuickGELU, resample_abs_pos_embed
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import nn

from mmvpt.weights import convert
from tests.weights.sources import (
    DEPTH,
    HEADS,
    WIDTH,
    clip_vit,
    fixed_positions,
    google,
    hf_clip,
    openai_clip,
    ours,
    source,
    timm_vit,
)

LIMIT = 1e-10


def images(size, batch=2):
    rng = torch.Generator().manual_seed(3)
    return torch.randn(batch, 3, size, size, generator=rng, dtype=torch.float64)


@torch.no_grad()
def check(vit, converted, size=32, other=48, rebuild=timm_vit):
    """Compare with timm's ``vit`` at its size and, rebuilt, at another one."""
    x = images(size)
    torch.testing.assert_close(
        ours(converted)(x)[0], vit.forward_features(x), rtol=0, atol=LIMIT
    )
    resized = ours(converted, img_size=other)
    large = rebuild(img_size=other)
    state = dict(vit.state_dict())
    state['pos_embed'] = resized.pos_embed[:, -large.pos_embed.shape[1] :]
    large.load_state_dict(state)
    x = images(other)
    expected = large.forward_features(x)
    torch.testing.assert_close(resized(x)[0], expected, rtol=0, atol=LIMIT)
    # Our backbone built for the native size resizes by itself for a larger image.
    torch.testing.assert_close(ours(converted)(x)[0], expected, rtol=0, atol=LIMIT)
    plain = resample_abs_pos_embed(
        vit.pos_embed.float(),
        resized.patch_resolution,
        num_prefix_tokens=0 if vit.no_embed_class else 1,
        antialias=False,
    )
    torch.testing.assert_close(state['pos_embed'].float(), plain, rtol=0, atol=1e-5)


def heads(**options):
    return dict(num_heads=HEADS, **options)


def test_timm():
    vit = timm_vit()
    converted = convert(source(vit.state_dict()), **heads())
    check(vit, converted)
    assert converted.format == 'timm' and converted.normalization is None
    assert set(converted.unused) == {'head.weight', 'head.bias'}


def test_timm_at_224_and_384():
    options = dict(patch_size=16, depth=2)
    vit = timm_vit(img_size=224, **options)
    converted = convert(source(vit.state_dict()), **heads())
    check(vit, converted, 224, 384, lambda **k: timm_vit(**options, **k))


def test_timm_without_qkv_bias_and_inside_open_clip():
    vit = timm_vit(qkv_bias=False)
    state = {f'visual.trunk.{k}': v for k, v in vit.state_dict().items()}
    state.update(
        {'visual.head.proj.weight': torch.ones(1), 'logit_scale': torch.ones(1)}
    )
    converted = convert(source(state), **heads())
    check(vit, converted, rebuild=lambda **k: timm_vit(qkv_bias=False, **k))


def test_timm_whose_class_token_has_no_position():
    options = dict(no_embed_class=True, init_values=0.1)  # DeiT III
    vit = timm_vit(**options)
    state = source(vit.state_dict())
    with pytest.raises(ValueError, match='16 rows.*two ways.*3x5.*4x4.*--grid'):
        convert(state, **heads())
    converted = convert(state, grid='4x4', **heads())
    assert converted.added == ('pos_embed of the class token, zeros',)
    check(vit, converted, rebuild=lambda **k: timm_vit(**options, **k))


@pytest.mark.parametrize('prefix', ['', 'opt/target/'])
def test_google_against_timms_own_loader(tmp_path, prefix):
    path = tmp_path / 'ViT.npz'
    arrays = google(timm_vit())
    np.savez(path, **{prefix + name: array for name, array in arrays.items()})
    vit = timm_vit(seed=1)
    vit.load_pretrained(str(path))
    converted = convert(path)
    assert converted.format == 'google'
    assert converted.architecture.num_heads == HEADS  # the shapes of its kernels tell
    assert str(converted.normalization) == 'mean (127.5, 127.5, 127.5), std ' + (
        '(127.5, 127.5, 127.5)'
    )
    check(vit, converted)


def test_mae():
    vit = fixed_positions(timm_vit())
    encoder = {k: v for k, v in vit.state_dict().items() if not k.startswith('head')}
    decoder = {
        'mask_token': torch.ones(1, 1, 16),
        'decoder_pos_embed': torch.ones(1, 17, 16),
        'decoder_blocks.0.norm1.weight': torch.ones(16),
    }
    for state, container in ((encoder, 'model'), ({**encoder, **decoder}, 'model')):
        converted = convert(source(state, container), **heads())
        assert converted.format == 'mae'
        assert len(converted.unused) == len(state) - len(encoder)
    assert converted.normalization.mean == (123.675, 116.28, 103.53)
    check(vit, converted)


@pytest.mark.parametrize('prefix', ['module.base_encoder.', 'module.'])
def test_mocov3(prefix):
    vit = fixed_positions(timm_vit())
    state = {prefix + k: v for k, v in vit.state_dict().items()}
    if prefix == 'module.base_encoder.':
        state['module.momentum_encoder.blocks.0.norm1.weight'] = torch.zeros(WIDTH)
        state['module.predictor.0.weight'] = torch.zeros(4, 4)
    converted = convert(source(state, 'state_dict'), **heads())
    assert converted.format == 'mocov3'
    check(vit, converted)


def test_the_small_vit_of_mocov3_has_twelve_heads():
    vit = timm_vit(embed_dim=384, depth=12, num_heads=12, mlp_ratio=0.25)
    learned = {f'module.{k}': v for k, v in vit.state_dict().items()}
    assert convert(source(learned)).architecture.num_heads == 6  # saved under DDP
    with pytest.raises(ValueError, match='not mocov3.*those of the file are learned'):
        convert(source(learned), format='mocov3')
    fixed = fixed_positions(vit).state_dict()
    state = {f'module.{k}': v for k, v in fixed.items()}
    assert convert(source(state)).architecture.num_heads == 12
    with pytest.raises(ValueError, match='MoCo v3 has 12 heads.*--format mocov3'):
        convert(source(fixed))
    assert convert(source(fixed), format='mocov3').architecture.num_heads == 12


def test_dinov2():
    options = dict(img_size=42, patch_size=14, init_values=1.0)
    vit = timm_vit(**options)
    state = {k: v for k, v in vit.state_dict().items() if not k.startswith('head')}
    state['mask_token'] = torch.zeros(1, WIDTH)
    converted = convert(source(state), **heads())
    assert converted.format == 'dinov2' and converted.architecture.layer_scale
    options.pop('img_size')
    check(vit, converted, 42, 70, lambda **k: timm_vit(**options, **k))


@pytest.mark.parametrize('names', ['openai', 'tower', 'hf'])
@pytest.mark.parametrize('activation', ['quick_gelu', 'gelu'])
def test_clip(names, activation):
    act = QuickGELU if activation == 'quick_gelu' else nn.GELU
    build = partial(clip_vit, act)
    state = openai_clip()
    vit = build(num_classes=7)
    vit.load_state_dict(checkpoint_filter_fn(dict(state), vit))
    if names == 'hf':
        state = hf_clip(state)
    elif names == 'tower':
        state = {k[7:]: v for k, v in state.items() if k.startswith('visual.')}
    converted = convert(source(state), **heads(activation=activation))
    assert converted.format == ('clip-hf' if names == 'hf' else 'clip-openai')
    check(vit, converted, rebuild=lambda **k: build(num_classes=7, **k))


def test_openais_own_file_tells_the_activation():
    state = openai_clip()
    with pytest.raises(ValueError, match='QuickGELU.*--activation'):
        convert(source(state), **heads())
    state['input_resolution'] = torch.tensor(32)
    converted = convert(source(state), **heads())
    assert converted.architecture.activation == 'quick_gelu'
    half = {k: v.half() if v.dim() else v for k, v in state.items()}
    converted = convert(source(half), **heads())
    assert {v.dtype for v in converted.state.values()} == {torch.float32}


ARCH = dict(
    embed_dims=WIDTH,
    num_layers=DEPTH,
    num_heads=HEADS,
    feedforward_channels=4 * WIDTH,
)


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_mmpretrain(prefix):
    torch.manual_seed(0)
    host = HostViT(ARCH, img_size=32, patch_size=8, out_type='raw').double()
    for parameter in host.parameters():
        nn.init.normal_(parameter, std=0.3)
    state = {prefix + k: v for k, v in host.state_dict().items()}
    if prefix:
        state.update({'head.fc.weight': torch.ones(1), 'neck.a': torch.ones(1)})
        state['backbone.mask_token'] = torch.ones(1, 1, WIDTH)
    converted = convert(source(state, 'state_dict'), **heads())
    assert converted.format == 'mmpretrain'
    host.eval()
    with torch.no_grad():
        for size in (32, 48):
            expected = host(images(size))[0]
            got = ours(converted)(images(size))[0]
            torch.testing.assert_close(got, expected, rtol=0, atol=LIMIT)


@pytest.mark.parametrize('options', [{}, dict(patch_bias=True, final_norm=True)])
def test_mmseg(options):
    backbones = pytest.importorskip('mmseg.models.backbones')
    torch.manual_seed(0)
    host = backbones.VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dims=WIDTH,
        num_layers=DEPTH,
        num_heads=HEADS,
        norm_cfg=dict(type='LN', eps=1e-6),
        interpolate_mode='bicubic',
        **options,
    ).double()
    for parameter in host.parameters():
        nn.init.normal_(parameter, std=0.3)
    state = {f'backbone.{k}': v for k, v in host.state_dict().items()}
    state['decode_head.conv_seg.weight'] = torch.ones(1)
    converted = convert(source(state, 'state_dict'), **heads())
    assert converted.format == 'mmseg'
    assert converted.architecture.final_norm is bool(options)
    assert len(converted.added) == (0 if options else 1)
    host.eval()
    with torch.no_grad():
        # mmpretrain resizes positions in single precision, mmseg in that of the model
        for size, limit in ((32, LIMIT), (48, 1e-6)):
            expected = host(images(size))[0]
            got = ours(converted, final_norm=bool(options))(images(size))[0]
            got = got[:, 1:].mT.reshape(expected.shape)
            torch.testing.assert_close(got, expected, rtol=0, atol=limit)
