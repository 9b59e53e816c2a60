# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A model around a backbone, for metric losses without a runner."""

import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmvpt.engine.hooks import MetricGuidanceHook
from mmvpt.models.vit import PromptedVisionTransformer


class Model(nn.Module):
    """Returns a task loss of zero, so that what a hook adds stands alone."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs, data_samples=None, mode='tensor'):
        feature = self.backbone(inputs)[-1]
        return dict(loss=feature.sum() * 0) if mode == 'loss' else feature


def samples(labels):
    return [DataSample().set_gt_label(int(label)) for label in labels]


def guided_losses(backbone, images, labels, **options):
    """Return what a ``MetricGuidanceHook(**options)`` adds, weights 1 by default."""
    options = {**dict(visual_weight=1.0, cls_weight=1.0), **options}
    hook = MetricGuidanceHook(**options)
    model = Model(backbone).train()
    hook.attach(model, backbone)
    try:
        losses = model(images, samples(labels), mode='loss')
    finally:
        hook.detach()
    assert set(losses) - {'loss_metric_visual', 'loss_metric_cls'} == {'loss_cls'}
    return {k: v for k, v in losses.items() if k != 'loss_cls'}


def metric_loss(*args, **options):
    """Return the sum of what a hook adds, a scalar."""
    return torch.stack(list(guided_losses(*args, **options).values())).sum()


def random_backbone(mask, **prompt):
    """Return a backbone with layers 0 and 2 guided, everything random."""
    torch.manual_seed(0)
    prompt = {**dict(num_classes=6, num_guided_tokens=4, num_tokens=2), **prompt}
    vit = PromptedVisionTransformer(
        dict(embed_dims=12, num_layers=3, num_heads=3, feedforward_channels=24),
        img_size=32,
        patch_size=8,
        prompt=dict(
            type='DistributionAwarePrompt', guided_layers=(0, 2), mask=mask, **prompt
        ),
    )
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.4)
    # Prompt 3 has no class: it never has a positive.
    vit.prompt.class_to_prompt.copy_(torch.tensor([0, 2, 1, 0, 2, 2]))
    return vit
