# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The rival that runs every token, on backbones with registers, turns and a pool."""

import pytest
import torch

from mmvpt.bench.speed.full_token import FullTokenViT
from mmvpt.weights.families import FAMILIES
from tests.models.exact import assert_same
from tests.models.vit.test_families import small


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('method', ['DeepPrompt', 'GatedPrompt', 'RefiningPrompt'])
def test_full_token_way(family, method):
    prompt = dict(type=method, num_tokens=4)
    if method != 'RefiningPrompt':
        prompt['drop_rate'] = 0
    else:
        prompt['rank'] = 2
    vit = small(family, prompt=prompt).train()
    images = torch.randn(2, 3, 32, 48, dtype=torch.float64)
    assert_same(vit, vit(images), FullTokenViT(vit)(images))
