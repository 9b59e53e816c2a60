# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Any plain Vision Transformer of timm, by its name there."""

import pytest
import timm
import torch
from torch import nn

from mmvpt.checkpoint import CheckpointError
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.weights import NORMALIZATIONS, convert, convert_file

# Real names, narrow widths and two layers: the options are what differs.
SMALL = dict(embed_dim=48, depth=2, num_heads=3, img_size=112)
NAMES = (
    'vit_base_patch16_224.augreg_in21k',
    'vit_base_patch16_224.mae',
    'vit_base_patch16_clip_quickgelu_224.openai',
    'vit_base_patch16_clip_224.laion2b',
    'vit_base_patch14_dinov2.lvd142m',
    'deit3_base_patch16_224.fb_in1k',
    'vit_base_patch8_224.augreg_in21k',
    'vit_base_patch14_reg4_dinov2.lvd142m',
    'vit_base_patch16_siglip_224.v2_webli',
)


@pytest.fixture
def small(monkeypatch):
    """Let timm build small random models under its real names."""
    create, made = timm.create_model, []

    def create_small(name, pretrained):
        assert not pretrained
        torch.manual_seed(0)
        made.append(create(name, pretrained=False, **SMALL).eval())
        for parameter in made[-1].parameters():
            nn.init.normal_(parameter, std=0.3)
        return made[-1]

    monkeypatch.setattr(timm, 'create_model', create_small)
    return made


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_features_of_a_name(small, name):
    converted = convert(f'timm:{name}', pretrained=False)
    vit = small[0].double()
    ours = PromptedVisionTransformer(
        out_type='raw', **converted.architecture.backbone_options()
    )
    missing, unexpected = ours.load_state_dict(converted.state, strict=False)
    assert all(key.startswith('pool.') for key in unexpected)
    assert all(key.startswith('ln2.') for key in missing)
    x = torch.randn(2, 3, 112, 112, dtype=torch.float64)
    got = ours.double().eval()(x)[0]
    torch.testing.assert_close(got, vit.forward_features(x), rtol=0, atol=1e-10)
    mean = tuple(255 * v for v in vit.pretrained_cfg['mean'])
    assert converted.normalization.mean == pytest.approx(mean)


def test_clip_of_timm_knows_its_activation(small):
    quick, plain = (
        convert(f'timm:{name}', pretrained=False).architecture.activation
        for name in NAMES[2:4]
    )
    assert (quick, plain) == ('quick_gelu', 'gelu')


def test_a_real_name_at_its_real_size(tmp_path):
    dest = tmp_path / 'ti.safetensors'
    name = 'vit_tiny_patch16_224.augreg_in21k'
    converted = convert_file(f'timm:{name}', dest, pretrained=False)
    options = converted.architecture.backbone_options()
    assert options == dict(arch='vit-ti', img_size=224, patch_size=16)
    assert converted.normalization == NORMALIZATIONS['half']
    vit = PromptedVisionTransformer(
        **options, init_cfg=dict(type='Pretrained', checkpoint=str(dest))
    )
    vit.init_weights()
    assert torch.equal(vit.pos_embed, converted.state['pos_embed'])


def test_init_cfg_names_a_model_of_timm(monkeypatch):
    vit = timm.create_model('vit_tiny_patch16_224', pretrained=False)
    monkeypatch.setattr(timm, 'create_model', lambda name, pretrained: vit)
    name = 'timm://vit_tiny_patch16_224.augreg_in21k'
    ours = PromptedVisionTransformer(
        'vit-ti', init_cfg=dict(type='Pretrained', checkpoint=name)
    )
    ours.init_weights()
    weight = vit.blocks[3].mlp.fc1.weight
    assert torch.equal(ours.layers[3].ffn.layers[0][0].weight, weight)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('vit_bas_patch16_224', 'has no Vision Transformer'),
        ('vit_base_patch16', 'similar: .*vit_base_patch16_224'),
        ('resnet50', 'has no Vision Transformer'),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(CheckpointError, match=message):
        convert(f'timm:{name}', pretrained=False)


def test_what_the_backbone_cannot_be(small):
    with pytest.raises(CheckpointError, match='register tokens and no class token'):
        convert('timm:vit_base_patch16_reg4_gap_256', pretrained=False)
    with pytest.raises(CheckpointError, match='no class token and no attention pool'):
        convert('timm:vit_base_patch16_gap_224', pretrained=False)
    with pytest.raises(CheckpointError, match='ParallelScalingBlock'):
        convert('timm:vit_base_patch16_xp_224', pretrained=False)


def test_known_names_are_one_model_of_timm(small, tmp_path):
    dest = tmp_path / 'vit-base-p16_augreg-in21k.pth'
    with pytest.raises(CheckpointError, match='is timm:vit_base_patch16_224.augreg'):
        convert_file('timm:vit_base_patch16_224.mae', dest, pretrained=False)
    with pytest.raises(CheckpointError, match='timm does not have'):
        dest = tmp_path / 'vit-base-p16_mocov3.pth'
        convert_file('timm:vit_base_patch16_224.mae', dest, pretrained=False)
    with pytest.raises(CheckpointError, match="has the format 'timm'"):
        convert('timm:vit_base_patch16_224.mae', format='mae', pretrained=False)
