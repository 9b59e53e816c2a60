# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Small random backbones of all methods, in float64."""

import torch
from torch import nn

from mmvpt.models.vit import PromptedVisionTransformer

ARCH = dict(embed_dims=12, num_layers=3, num_heads=3, feedforward_channels=24)
PROMPTS = {
    'shallow': dict(type='ShallowPrompt', num_tokens=2),
    'deep': dict(type='DeepPrompt', num_tokens=2),
    'gated': dict(type='GatedPrompt', num_tokens=3, gate_init=0.5),
    'adaptive': dict(type='AdaptivePrompt', num_tokens=2, bottleneck=3),
    'davpt': dict(
        type='DistributionAwarePrompt',
        num_classes=6,
        num_guided_tokens=4,
        num_tokens=2,
        guided_layers=(0, 2),
    ),
    'davpt, no prompts between': dict(
        type='DistributionAwarePrompt',
        num_classes=6,
        num_guided_tokens=4,
        num_tokens=0,
        mask=False,
    ),
}


def backbone(name='davpt', **options):
    """Return a backbone of width 12, depth 3, 4x4 patches, everything random."""
    torch.manual_seed(0)
    vit = PromptedVisionTransformer(
        ARCH, img_size=32, patch_size=8, prompt=PROMPTS.get(name), **options
    ).double()
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.4)
    if name == 'gated':
        nn.init.uniform_(vit.prompt.temperatures, 0.5, 2)
    if name.startswith('davpt'):
        # Prompt 3 has no class.
        vit.prompt.class_to_prompt.copy_(torch.tensor([0, 2, 1, 0, 2, 2]))
    return vit


def images(count=2, size=(32, 32)):
    """Return random preprocessed images."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, *size, generator=generator, dtype=torch.float64)
