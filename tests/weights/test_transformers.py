# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Models of Hugging Face, saved by transformers, compute the same here.

Random weights in double precision, from the folder that ``save_pretrained`` writes and
from ``state_dict()``, whose names differ in transformers 5.
"""

import pytest
import torch
from torch import nn

from mmvpt.errors import UserError
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.weights import convert
from tests.weights.sources import source

transformers = pytest.importorskip(
    'transformers', reason='compares with transformers: pip install transformers'
)
pytestmark = pytest.mark.sweep

SIZE = dict(
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=3,
    image_size=32,
    patch_size=8,
)
MLP = dict(intermediate_size=40)
# Name of the classes, arguments, family, limit of the difference.
MODELS = {
    'vit': ('ViT', dict(MLP), 'vit', 1e-9),
    'mae': ('ViTMAE', dict(MLP, mask_ratio=0.0), 'vit', 1e-9),
    'dinov2': ('Dinov2', dict(mlp_ratio=2), 'dinov2', 1e-9),
    'dinov2-g': ('Dinov2', dict(use_swiglu_ffn=True), 'dinov2', 1e-9),
    'dinov2-reg': ('Dinov2WithRegisters', dict(mlp_ratio=2), 'dinov2-reg', 1e-9),
    # its rotary table is in single precision
    'dinov3': ('DINOv3ViT', dict(MLP, num_register_tokens=4), 'dinov3', 1e-5),
    'dinov3-h+': (
        'DINOv3ViT',
        dict(MLP, num_register_tokens=4, use_gated_mlp=True, hidden_act='silu'),
        'dinov3',
        1e-5,
    ),
    'siglip': ('SiglipVision', dict(MLP), 'siglip', 1e-9),
    # so are its positions
    'naflex': ('Siglip2Vision', dict(MLP, num_patches=16), 'siglip', 1e-6),
    'clip': ('CLIPVision', dict(MLP), 'vit', 1e-9),
}


def build(name):
    stem, options, *_ = MODELS[name]
    size = {k: v for k, v in SIZE.items() if (name, k) != ('naflex', 'image_size')}
    config = getattr(transformers, f'{stem}Config')(**size, **options)
    torch.manual_seed(0)
    model = getattr(transformers, f'{stem}Model')(config).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def theirs(model, name, x):
    """Return all normed tokens (None for CLIP), and the pooled vector."""
    if name == 'naflex':
        patches = x.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1)
        out = model(
            patches.flatten(3).flatten(1, 2),
            torch.ones(len(x), 16, dtype=torch.long),
            torch.tensor([[4, 4]] * len(x)),
        )
    elif name == 'mae':
        out = model(x, noise=torch.arange(16.0).expand(len(x), -1))
    else:
        out = model(x)
    tokens = out.last_hidden_state
    if name == 'clip':
        return None, out.pooler_output
    siglip = name in ('siglip', 'naflex')
    return tokens, out.pooler_output if siglip else tokens[:, 0]


def ours(found, **options):
    options = {**found.architecture.backbone_options(), **options}
    vit = PromptedVisionTransformer(**options).double().eval()
    missing, unexpected = vit.load_state_dict(found.state, strict=False)
    assert not missing and all(key.startswith('pool.') for key in unexpected)
    return vit


@pytest.mark.parametrize('name', MODELS)
@torch.no_grad()
def test_features(name, tmp_path):
    model = build(name)
    _, _, family, limit = MODELS[name]
    model.save_pretrained(tmp_path)
    found = convert(tmp_path)
    assert found.architecture.family == family
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    tokens, pooled = theirs(model, name, x)
    if tokens is not None:
        got = ours(found, out_type='raw')(x)[0]
        torch.testing.assert_close(got, tokens, rtol=limit, atol=limit)
    torch.testing.assert_close(ours(found)(x)[0], pooled, rtol=limit, atol=limit)
    facts = dict(num_heads=3)
    if name == 'clip':
        facts['activation'] = 'quick_gelu'
    plain = convert(source(model.state_dict()), **facts)
    assert plain.architecture == found.architecture
    assert all(torch.equal(plain.state[k], v) for k, v in found.state.items())


def test_distilled_models_are_refused(tmp_path):
    config = transformers.DeiTConfig(**SIZE, **MLP)
    transformers.DeiTModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match='a distillation token'):
        convert(tmp_path)
