# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Configs of mmpretrain and mmsegmentation use our backbone without custom_imports."""

import subprocess
import sys

CLASSIFIER = """
config = dict(
    type='ImageClassifier',
    backbone=BACKBONE,
    head=dict(type='LinearClsHead', num_classes=3, in_channels=24),
)
scope = 'mmpretrain'
"""
SEGMENTOR = """
BACKBONE.update(out_type='featmap', out_indices=(0, 1))
config = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', size=(32, 32)),
    backbone=BACKBONE,
    neck=dict(
        type='MultiLevelNeck', in_channels=[24, 24], out_channels=24, scales=[2, 1]
    ),
    decode_head=dict(
        type='FCNHead', in_channels=24, in_index=0, channels=8, num_convs=1,
        num_classes=3, norm_cfg=dict(type='BN'),
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
scope = 'mmseg'
"""
SCRIPT = """
import os, sys, torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
BACKBONE = dict(
    type='mmvpt.PromptedVisionTransformer',
    arch=dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48),
    img_size=32, patch_size=8,
    prompt=dict(type='mmvpt.DeepPrompt', num_tokens=2),
)
if os.fork() == 0:  # both start without mmvpt
    exec({classifier!r})
else:
    _, status = os.wait()
    assert status == 0
    exec({segmentor!r})
init_default_scope(scope)
assert 'mmvpt' not in sys.modules
model = MODELS.build(ConfigDict(config))
print(type(model.backbone).__module__, scope)
images = torch.randn(2, 3, 32, 32)
feats = model.extract_feat(images)
sum(f.sum() for f in feats).backward()
assert model.backbone.prompt.tokens.grad is not None
"""


def test_no_custom_imports():
    script = SCRIPT.format(classifier=CLASSIFIER, segmentor=SEGMENTOR)
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', script], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    for scope in ('mmpretrain', 'mmseg'):
        assert f'mmvpt.models.vit.vit {scope}' in run.stdout
    assert 'Failed to search registry' not in run.stdout + run.stderr
