# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The normalisation of a checkpoint reaches the data preprocessor, overridable."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmvpt.checkpoint import CheckpointError
from mmvpt.registry import MODELS
from tests.engine.miniature import ROOT

CONFIG = """
_base_ = ['{base}']
model = dict(
    backbone=dict(arch='vit-ti'),
    head=dict(in_channels=192),
    data_preprocessor=dict(
        type='mmvpt.PretrainedDataPreprocessor',
        checkpoint={{{{_base_.model.backbone.init_cfg.checkpoint}}}},
        to_rgb=True,
        {more}
    ),
)
"""


def model(tmp_path, name, more=''):
    base = ROOT / 'configs/_base_/models' / f'{name}.py'
    path = tmp_path / 'own.py'
    path.write_text(CONFIG.format(base=base, more=more))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(Config.fromfile(path).model)


@pytest.mark.parametrize(
    ('name', 'value'),
    [('vit-base-p16_in21k', 1.0), ('vit-base-p16_mae', 2.2489082969432315)],
)
def test_a_config_takes_it_from_the_checkpoint(tmp_path, name, value):
    classifier = model(tmp_path, name)
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    image[2] = 255  # blue, green, red from the file: the red channel is full
    out = classifier.data_preprocessor({'inputs': image[None]})['inputs']
    assert out[0, 0, 0, 0].item() == pytest.approx(value, abs=1e-5)


def test_it_is_overridable(tmp_path):
    override = 'mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0],'
    preprocessor = model(tmp_path, 'vit-base-p16_in21k', override).data_preprocessor
    assert preprocessor.mean.flatten().tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match='mean and std together'):
        model(tmp_path, 'vit-base-p16_in21k', 'mean=[1.0, 2.0, 3.0],')


def test_nothing_tells(tmp_path):
    torch.save({'state_dict': {'a': torch.ones(1)}}, tmp_path / 'a.pth')
    config = dict(type='mmvpt.PretrainedDataPreprocessor')
    for name in ('a.pth', 'nowhere.pth'):
        with pytest.raises(CheckpointError, match='does not tell how its images'):
            MODELS.build(dict(config, checkpoint=str(tmp_path / name)))


def test_other_preprocessors():
    pytest.importorskip('mmseg.models')
    with DefaultScope.overwrite_default_scope('mmseg'):
        preprocessor = MODELS.build(
            dict(
                type='mmvpt.PretrainedDataPreprocessor',
                base='SegDataPreProcessor',
                checkpoint='mmvpt://vit-base-p16_in21k',
                bgr_to_rgb=True,
                size=(32, 32),
            )
        )
    assert type(preprocessor).__name__ == 'SegDataPreProcessor'
    assert preprocessor.mean.flatten().tolist() == [127.5] * 3
