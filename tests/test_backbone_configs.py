# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Bases of the newer backbones fit their weights, and are normalised as these were."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.weights import NORMALIZATIONS, as_normalization
from mmvpt.weights.names import known_checkpoint

ROOT = Path(__file__).parents[1]
MODELS = ROOT / 'configs/_base_/models'
FAMILIES = ('dinov2', 'dinov2-reg', 'dinov3', 'siglip2')
NAMES = [f'{family}-{size}' for family in FAMILIES for size in 'bl']


@pytest.mark.parametrize('head', ['', 'upernet_'])
@pytest.mark.parametrize('name', NAMES)
def test_base(name, head):
    model = Config.fromfile(MODELS / f'{head}{name}.py').model
    known = known_checkpoint(model.backbone.init_cfg.checkpoint)
    images = {k: list(model.data_preprocessor[k]) for k in ('mean', 'std')}
    assert as_normalization(images).is_close(NORMALIZATIONS[known.normalization])
    assert model.backbone.arch == known.arch
    options = {k: v for k, v in model.backbone.items() if k not in ('type', 'init_cfg')}
    with torch.device('meta'):
        vit = PromptedVisionTransformer(**options)
    assert vit.patch_embed.projection.kernel_size == (known.patch_size,) * 2
    dims = {vit.embed_dims}
    if head:
        assert set(model.decode_head.in_channels) == dims == {model.neck.out_channels}
        assert set(model.neck.in_channels) == dims == {model.auxiliary_head.in_channels}
        assert vit.out_indices[-1] == vit.num_layers - 1
        size = model.data_preprocessor.get('size')
        assert (options['img_size'],) * 2 == tuple(size)
    else:
        assert {model.head.in_channels} == dims
