# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A normalisation that nobody stated is logged before training and test."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseTTAModel
from mmengine.registry import DefaultScope

from mmvpt.engine.hooks import NormalizationHook
from mmvpt.registry import MODELS
from tests.engine.miniature import ROOT

IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
HALF = dict(mean=[127.5] * 3, std=[127.5] * 3)
ARCH = dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48)


def warnings(checkpoint, preprocessor, stated=None, wrap=None):
    """Return what the hook logs before training and before a test."""
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
    if stated is not None:
        init_cfg['normalization'] = stated
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(
            dict(
                type='ImageClassifier',
                backbone=dict(
                    type='mmvpt.PromptedVisionTransformer',
                    arch=ARCH,
                    img_size=32,
                    init_cfg=init_cfg,
                ),
                data_preprocessor=preprocessor,
            )
        )
    records = []
    logger = SimpleNamespace(log=lambda level, text: records.append((level, text)))
    runner = SimpleNamespace(model=wrap(model) if wrap else model, logger=logger)
    NormalizationHook().before_train(runner)
    NormalizationHook().before_test(runner)
    assert {level for level, _ in records} <= {logging.WARNING}
    assert len(records) in (0, 2)
    return records[0][1] if records else None


@pytest.mark.parametrize(
    ('checkpoint', 'preprocessor', 'stated', 'message'),
    [
        ('mmvpt://vit-base-p16_in21k', HALF, None, None),
        ('mmvpt://vit-base-p16_mae', IMAGENET, None, None),
        ('mmvpt://vit-base-p16_in21k', IMAGENET, 'imagenet', None),
        ('mmvpt://vit-base-p16_in21k', IMAGENET, IMAGENET, None),
        ('mmvpt://vit-base-p16_in21k', IMAGENET, None, 'pretrained with mean (127.5'),
        ('mmvpt://vit-base-p16_mae', HALF, None, 'was pretrained with mean (123.675'),
        ('mmvpt://vit-base-p16_in21k', HALF, 'imagenet', 'init_cfg states mean (123'),
        ('mmvpt://vit-base-p16_mae', {}, None, 'has no mean and std'),
        ('nowhere.pth', HALF, None, None),
    ],
)
def test_what_is_logged(checkpoint, preprocessor, stated, message):
    found = warnings(checkpoint, dict(preprocessor), stated)
    assert found is None if message is None else message in found


def test_wrapped_models():
    class Wrapper(BaseTTAModel):
        def __init__(self, module):
            torch.nn.Module.__init__(self)
            self.module = module

        def merge_preds(self, data_samples_list):
            return []

    assert warnings('mmvpt://vit-base-p16_mae', dict(HALF), wrap=Wrapper)


BASE = ROOT / 'configs/_base_'
MODELS_OF_PAPERS = [
    path
    for path in sorted(BASE.glob('models/*vit-base*.py'))
    if 'decode_head' not in path.read_text()
]


@pytest.mark.parametrize('path', MODELS_OF_PAPERS, ids=lambda path: path.stem)
@pytest.mark.parametrize('data', ['fgvc', 'vtab1k', 'vtab1k_final'])
def test_configs_state_what_they_do(path, data):
    """VPT's protocol feeds ImageNet's numbers to ImageNet-21k weights, and says so."""
    init_cfg = Config.fromfile(path).model.backbone.init_cfg
    numbers = Config.fromfile(BASE / f'datasets/{data}.py').data_preprocessor
    stated = init_cfg.get('normalization')
    assert warnings(init_cfg.checkpoint, numbers, stated) is None


def test_every_run_compares():
    hooks = Config.fromfile(BASE / 'default_runtime.py').default_hooks
    assert hooks.normalization.type == 'mmvpt.NormalizationHook'
