# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The converter gives every family the weights and the arguments that equal timm's.

``tests/models/vit/test_families.py`` compares the backbone with timm, its weights
renamed there by hand; here they are converted, and the arguments are those that are
printed.
"""

import pytest
import torch

from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.weights import convert
from tests.models.vit.test_families import HEADS, MODELS, pair
from tests.weights.sources import source

# What no weight tells, or keys leave open.
OPEN = {
    'clip': dict(activation='quick_gelu'),
    'siglip': dict(activation='gelu_tanh'),
    'siglip-exact-gelu': dict(activation='gelu'),
    'siglip-gap': dict(activation='gelu_tanh', family='siglip'),
}


@pytest.mark.parametrize('name', MODELS)
@torch.no_grad()
def test_converted_weights_and_printed_arguments(name):
    ours, theirs = pair(name, 16)
    options = OPEN.get(name, {})
    found = convert(source(theirs.state_dict()), num_heads=HEADS, **options)
    line = found.report().splitlines()[-1].removeprefix('backbone')
    arguments = eval(f'dict({line})')
    assert arguments == found.architecture.backbone_options()
    vit = PromptedVisionTransformer(**arguments).double().eval()
    vit.load_state_dict(found.state)
    for size in ((16, 16), (20, 28)):
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        assert torch.equal(vit(x)[0], ours(x)[0])
