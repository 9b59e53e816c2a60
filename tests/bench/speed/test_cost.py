# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The cost model says what the counter counts, to the last operation."""

import pytest
import torch

from mmvpt.bench.speed.cost import Cost, show
from mmvpt.bench.speed.measure import count_operations, kept_for_backward
from mmvpt.bench.speed.subjects import Setting, Subject
from mmvpt.errors import UserError
from mmvpt.models.vit import PromptedVisionTransformer
from tests.config_files import ROOT


@pytest.mark.parametrize(
    ('arch', 'size', 'batch', 'tokens'),
    [
        ('vit-ti', 64, 2, 3),
        ('vit-s', 96, 3, 7),
        ('dinov2-s', 56, 2, 5),
        ('dinov3-s+', 64, 2, 4),
    ],
)
def test_operations(arch, size, batch, tokens):
    cost = Cost(arch, size, batch, tokens)

    def count(name, mode):
        shape = dict(image_size=size, batch_size=batch, num_tokens=tokens)
        return count_operations(name, Setting(mode=mode, arch=arch, **shape))

    assert count('vpt-deep', 'infer') == cost.inference
    assert count('vpt-deep', 'train') == cost.training
    for mode in ('infer', 'train'):
        assert count('vpt-deep/full-token', mode) == cost.full_token(mode)
    if arch.startswith('vit'):
        assert count('full-timm', 'train') == cost.fine_tuning


@pytest.mark.parametrize(
    ('arch', 'size', 'batch', 'tokens'),
    [('vit-ti', 64, 2, 3), ('vit-s', 96, 3, 7), ('dinov2-s', 56, 2, 5)],
)
def test_bytes_kept_for_backward(arch, size, batch, tokens):
    cost = Cost(arch, size, batch, tokens)
    shape = dict(image_size=size, batch_size=batch, num_tokens=tokens)
    setting = Setting(mode='train', arch=arch, **shape)
    assert kept_for_backward(Subject('vpt-deep', setting)) == cost.kept
    full = Subject('vpt-deep/full-token', setting)
    assert kept_for_backward(full) == cost.kept_full_token


def test_bytes_of_swiglu_are_refused():
    with pytest.raises(UserError, match='dinov3-s.*SwiGLU.*measure'):
        _ = Cost('dinov3-s+', 64).kept


@pytest.mark.parametrize('arch', ['vit-ti', 'dinov3-s+'])
def test_parameters(arch):
    with torch.device('meta'):
        prompt = dict(type='DeepPrompt', num_tokens=3)
        vit = PromptedVisionTransformer(arch, 64, prompt=prompt)
    cost = Cost(arch, 64, 1, 3, num_classes=5)
    matrices = [p.numel() for p in vit.layers.parameters() if p.dim() == 2]
    assert sum(matrices) == cost.weights
    head = 5 * (vit.embed_dims + 1)
    assert vit.prompt.tokens.numel() + head == cost.task_parameters


def test_the_table_of_the_documentation():
    assert show() in (ROOT / 'docs/performance.md').read_text()
