# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Mask2Former with a prompt's queries; needs mmdetection, as its last test says."""

import importlib.util

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData

from mmvpt.errors import UserError
from mmvpt.models.seg import check_queries
from mmvpt.registry import MODELS
from tests.models.prompted import build as small

needs_mmdet = pytest.mark.skipif(
    importlib.util.find_spec('mmdet') is None, reason='mmdetection is not installed'
)


def build(replace_query_feat=True, num_queries=5, dims=16):
    """Build a segmentor with a decoder of two layers on a small ViT."""
    from tests.projects import compiled_ops

    compiled_ops.provide_mask2former()

    layer = dict(
        self_attn_cfg=dict(embed_dims=dims, num_heads=2, batch_first=True),
        cross_attn_cfg=dict(embed_dims=dims, num_heads=2, batch_first=True),
        ffn_cfg=dict(embed_dims=dims, feedforward_channels=32, num_fcs=2),
    )
    encoder = dict(
        self_attn_cfg=dict(
            embed_dims=dims, num_heads=2, num_levels=3, num_points=2, batch_first=True
        ),
        ffn_cfg=dict(embed_dims=dims, feedforward_channels=32, num_fcs=2),
    )
    positions = dict(num_feats=dims // 2, normalize=True)
    loss = dict(reduction='mean', loss_weight=5.0)
    head = dict(
        type='mmvpt.LinkedMask2FormerHead',
        replace_query_feat=replace_query_feat,
        in_channels=[24] * 4,
        strides=[4, 8, 16, 32],
        feat_channels=dims,
        out_channels=dims,
        num_classes=3,
        num_queries=num_queries,
        num_transformer_feat_level=3,
        pixel_decoder=dict(
            type='mmdet.MSDeformAttnPixelDecoder',
            num_outs=3,
            norm_cfg=dict(type='GN', num_groups=4),
            act_cfg=dict(type='ReLU'),
            encoder=dict(num_layers=1, layer_cfg=encoder),
            positional_encoding=positions,
        ),
        positional_encoding=positions,
        transformer_decoder=dict(
            return_intermediate=True, num_layers=2, layer_cfg=layer
        ),
        loss_cls=dict(
            type='mmdet.CrossEntropyLoss',
            loss_weight=2.0,
            class_weight=[1.0] * 3 + [0.1],
        ),
        loss_mask=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True, **loss),
        loss_dice=dict(
            type='mmdet.DiceLoss', use_sigmoid=True, naive_dice=True, eps=1.0, **loss
        ),
        train_cfg=dict(
            num_points=64,
            oversample_ratio=3.0,
            importance_sample_ratio=0.75,
            assigner=dict(
                type='mmdet.HungarianAssigner',
                match_costs=[
                    dict(type='mmdet.ClassificationCost', weight=2.0),
                    dict(
                        type='mmdet.CrossEntropyLossCost', weight=5.0, use_sigmoid=True
                    ),
                    dict(type='mmdet.DiceCost', weight=5.0, pred_act=True, eps=1.0),
                ],
            ),
            sampler=dict(type='mmdet.MaskPseudoSampler'),
        ),
    )
    arch = dict(embed_dims=24, num_layers=4, num_heads=3, feedforward_channels=48)
    backbone = dict(
        type='mmvpt.PromptedVisionTransformer',
        arch=arch,
        img_size=64,
        patch_size=16,
        out_type='featmap',
        out_indices=(0, 1, 2, 3),
        final_norm=False,
        prompt=dict(type='RefiningPrompt', num_tokens=5, rank=3, query_dims=16),
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(
            ConfigDict(
                type='mmseg.EncoderDecoder',
                backbone=backbone,
                neck=dict(type='mmvpt.ResizePyramid'),
                decode_head=head,
                test_cfg=dict(mode='whole'),
            )
        )


def batch():
    from mmseg.structures import SegDataSample

    torch.manual_seed(0)
    samples = [
        SegDataSample(
            metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)),
            gt_sem_seg=PixelData(data=torch.randint(0, 3, (1, 64, 64))),
        )
        for _ in range(2)
    ]
    return torch.randn(2, 3, 64, 64), samples


@needs_mmdet
@pytest.mark.parametrize('replace', [True, False])
def test_everything_of_the_prompt_learns(replace):
    model = build(replace).train()
    head = model.decode_head
    names = [name for name, _ in head.named_parameters()]
    assert not any(name.startswith('query_embed') for name in names)
    assert ('query_feat.weight' in names) != replace
    losses = model(*batch(), mode='loss')
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    for name, parameter in model.backbone.prompt.named_parameters():
        assert parameter.grad.any(), name
    if replace:
        assert head.query_feat_proj.weight.grad.any()
    assert head.query_embed.weight is None
    images, samples = batch()
    for out in model.eval()(images, samples, mode='predict'):
        assert out.pred_sem_seg.shape == (64, 64)


@needs_mmdet
def test_queries_are_read(monkeypatch):
    model = build().eval()
    images, samples = batch()
    before = model.decode_head(model.extract_feat(images), samples)
    model.backbone.prompt.query_merge.bias.data += torch.randn(16)
    after = model.decode_head(model.extract_feat(images), samples)
    assert (before[0][-1] - after[0][-1]).abs().max() > 1e-4


@needs_mmdet
def test_other_counts_are_refused():
    with pytest.raises(UserError, match=r'LinkedMask2FormerHead for \(7, 16\)'):
        check_queries(build(num_queries=7))
    check_queries(build())
    with pytest.raises(UserError, match=r'queries \(5, 16\) and takes \(7, 16\)'):
        build(num_queries=7)(*batch(), mode='loss')


@pytest.mark.skipif(
    importlib.util.find_spec('mmdet') is not None, reason='mmdetection is installed'
)
def test_what_is_missing_is_named():
    with pytest.raises(UserError, match='needs mmseg, mmdet'):
        MODELS.build(dict(type='mmvpt.LinkedMask2FormerHead', num_classes=3))


def test_other_heads_are_refused():
    prompt = dict(num_tokens=5, rank=3, query_dims=8)
    model = torch.nn.Module()
    model.backbone = small('refining', prompt=prompt, out_type='featmap')
    with pytest.raises(UserError, match=r'queries of shape \(5, 8\).*the head is none'):
        check_queries(model)
    model.decode_head = torch.nn.Conv2d(24, 3, 1)
    with pytest.raises(UserError, match='the head is Conv2d'):
        check_queries(model)
    model.backbone = small('refining', out_type='featmap')
    check_queries(model)
