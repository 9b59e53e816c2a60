# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Feature maps of every prompt are those of all tokens run through whole layers."""

import pytest
import torch

from mmvpt.models.vit.layer import OPERANDS
from tests.models.exact import assert_same
from tests.models.naive import naive_forward
from tests.models.vit.test_vit import build

PROMPTS = {
    'none': None,
    'shallow': dict(type='ShallowPrompt', num_tokens=4),
    'deep': dict(type='DeepPrompt', num_tokens=4),
    'gated': dict(type='GatedPrompt', num_tokens=4, gate_init=1),
    'adaptive': dict(type='AdaptivePrompt', num_tokens=4),
    'guided': dict(
        type='DistributionAwarePrompt',
        num_classes=3,
        num_guided_tokens=3,
        num_tokens=4,
        guided_layers=(1, 2),
    ),
}
#: Height, width and images; the third is made of no whole patches.
INPUTS = ((32, 32, 2), (48, 40, 1), (29, 37, 2), (64, 16, 1))
#: Which layers, and whether the last is normed: UPerNet, SETR, a linear head.
OUTPUTS = (((0, 1, 2), True), ((0, 2), False), ((2,), True), ((-2, -1), True))


@pytest.mark.parametrize(('indices', 'norm'), OUTPUTS)
@pytest.mark.parametrize('name', PROMPTS)
def test_equal_the_full_token_way(name, indices, norm):
    torch.manual_seed(0)
    vit = build(
        prompt=PROMPTS[name],
        tunable=['davpt+'],
        out_type='featmap',
        out_indices=indices,
        final_norm=norm,
    ).train()
    if name == 'guided':  # what a metric loss reads changes no map
        vit.guide.reads = (*OPERANDS, 'prompt')
    for module in (vit.prompt or torch.nn.Identity()).modules():
        if isinstance(module, (torch.nn.Dropout, torch.nn.Dropout2d)):
            module.eval()
    for height, width, size in INPUTS:
        images = torch.randn(size, 3, height, width, dtype=torch.float64)
        maps, plain = vit(images), naive_forward(vit, images)
        assert len(maps) == len(indices)
        for y in maps:
            assert y.shape == (size, 24, -(-height // 8), -(-width // 8))
        assert_same(vit, maps, plain)


@pytest.mark.parametrize('indices', [(0, 3), (0, 1, 2, 5), (-4,), ()])
def test_layers_that_do_not_exist(indices):
    with pytest.raises(ValueError, match='out_indices must be ascending layers'):
        build(out_type='featmap', out_indices=indices)
