# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Losses of pytorch-metric-learning, plugged in by config."""

import builtins

import pytest
import torch

from mmvpt.models.losses import MetricLearningLibraryLoss
from mmvpt.models.vit import PromptedVisionTransformer
from tests.models.guided_model import guided_losses

PATH = 'mmvpt.MetricLearningLibraryLoss'


def test_multi_similarity_by_hand():
    pytest.importorskip('pytorch_metric_learning')
    loss = MetricLearningLibraryLoss('MultiSimilarityLoss', alpha=2, beta=50, base=0.5)
    x, proxies = torch.randn(6, 8).double(), torch.randn(3, 8).double()
    targets = torch.tensor([0, 1, 1, 2, 0, 0])
    s = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(proxies).T
    expected = 0
    for i, y in enumerate(targets):
        others = [k for k in range(3) if k != y]
        expected += torch.log(1 + torch.exp(-2 * (s[i, y] - 0.5))) / 2 / 6
        expected += torch.log(1 + torch.exp(50 * (s[i, others] - 0.5)).sum()) / 50 / 6
    torch.testing.assert_close(loss(x, proxies, targets), expected)


@pytest.mark.parametrize('name', ['MultiSimilarityLoss', 'SupConLoss'])
def test_as_the_loss_of_the_hook(name):
    pytest.importorskip('pytorch_metric_learning')
    vit = PromptedVisionTransformer(
        dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48),
        img_size=32,
        patch_size=8,
        prompt=dict(
            type='DistributionAwarePrompt',
            num_classes=6,
            num_guided_tokens=3,
            mapping='balanced',
        ),
    )
    losses = guided_losses(
        vit, torch.randn(4, 3, 32, 32), [0, 1, 4, 5], loss=dict(type=PATH, name=name)
    )
    sum(losses.values()).backward()
    assert vit.prompt.guided_tokens.grad.abs().sum() > 0


def test_refusals(monkeypatch):
    pytest.importorskip('pytorch_metric_learning')
    with pytest.raises(ValueError, match="has no 'NoSuchLoss'"):
        MetricLearningLibraryLoss('NoSuchLoss')
    with pytest.raises(ValueError, match='ProxyAnchorLoss learns parameters'):
        MetricLearningLibraryLoss('ProxyAnchorLoss', num_classes=3, embedding_size=8)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith('pytorch_metric_learning'):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without)
    with pytest.raises(ImportError, match='pip install pytorch-metric-learning'):
        MetricLearningLibraryLoss('SupConLoss')
