# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Mask2Former from a config to a published file that predicts; needs mmdetection."""

import importlib.util

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

import mmvpt
from mmvpt.apis import publish
from mmvpt.apis.vetting import vet
from mmvpt.checkpoint import CheckpointError
from mmvpt.checkpoint.config_data import to_data
from mmvpt.checkpoint.tuned import TunedCheckpoint
from mmvpt.errors import UserError
from mmvpt.zoo import cells
from tests.apis.tuned_runs import write_frozen
from tests.config_files import ROOT
from tests.projects import compiled_ops
from tests.segmentation import make_data, small

REIN = 'rein/rein_mask2former-vit-base-p14-dinov2_ade20k.py'
MMDET = importlib.util.find_spec('mmdet') is not None


def miniature(root, name):
    """Return a small config that trains a step on drawn scenes."""
    path = REIN
    if name == 'lora':
        path = root / 'lora.py'
        cells.compose('lora', 'siglip2-b', 'ade20k', 'mask2former').config().dump(path)
    config = small(path, root, work_dir=str(root / 'run'), train_cfg__max_iters=1)
    make_data(root, config, 2)
    backbone = config.model.backbone
    weights = write_frozen(root / 'vit.pth', {**backbone, 'adapter': None})
    backbone.init_cfg = dict(type='Pretrained', checkpoint=str(weights))
    return config


@pytest.mark.sweep
@pytest.mark.skipif(not MMDET, reason='mmdetection is not installed')
@pytest.mark.parametrize('name', ['rein', 'lora'])
def test_trains_is_published_and_predicts(name, tmp_path):
    compiled_ops.provide_mask2former()
    config = miniature(tmp_path, name)
    runner = Runner.from_cfg(config)
    runner.train()
    release = publish(tmp_path / 'run/iter_1.pth', tmp_path)
    model = mmvpt.load(release, device='cpu')
    assert len(model.class_names) == 150
    tuned = {n: p for n, p in runner.model.named_parameters() if p.requires_grad}
    assert any(name in n for n in tuned for name in ('prompt', 'adapter'))
    loaded = dict(model.model.named_parameters())
    assert all(torch.equal(loaded[n], p) for n, p in tuned.items())
    image = next((tmp_path / 'images/validation').glob('*'))
    (found,) = model.predict(image)
    assert found.mask.shape == cv2.imread(str(image)).shape[:2]


@pytest.mark.skipif(MMDET, reason='mmdetection is installed')
def test_a_file_says_that_mmdetection_is_missing(tmp_path):
    config = Config.fromfile(ROOT / 'configs' / REIN).to_dict()
    path = tmp_path / 'rein.safetensors'
    TunedCheckpoint({}, {}, to_data(config)).save(path)
    with pytest.raises(UserError, match='mmdet.* is not installed. Get them with'):
        mmvpt.load(path)


@pytest.mark.skipif(not MMDET, reason='mmdetection is not installed')
def test_a_file_may_name_no_more_of_mmdetection(tmp_path):
    compiled_ops.provide_mask2former()
    config = Config.fromfile(ROOT / 'configs' / REIN).to_dict()
    vet(config)
    wrong = [
        ('neck', dict(type='mmdet.FPN'), 'mmdet.models.necks.fpn is not among'),
        ('_scope_', 'mmdet', "'mmdet' at model._scope_"),
    ]
    for key, value, message in wrong:
        with pytest.raises(CheckpointError, match=message):
            vet({**config, 'model': {**config['model'], key: value}})
    for field in ('test_pipeline', 'test_dataloader'):
        steps = [dict(type='mmdet.Resize', scale=8)]
        part = steps if field == 'test_pipeline' else dict(dataset=dict(pipeline=steps))
        with pytest.raises(CheckpointError, match="'mmdet.Resize' .* no registered"):
            vet({**config, field: part})
