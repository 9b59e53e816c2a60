# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The inferencers of mmpretrain and mmseg take our models, merged or not."""

import numpy as np
import pytest
from mmpretrain.apis import ImageClassificationInferencer

import mmvpt
from mmvpt.apis import merge, write_config
from mmvpt.checkpoint import CheckpointError
from tests.apis.tuned_runs import SEG_CLASSES


@pytest.mark.parametrize('merged', [True, False])
def test_mmpretrain(trained_classifier, tmp_path, merged):
    trained = trained_classifier / 'run/epoch_1.pth'
    full = merge(trained, tmp_path / 'full.pth')
    write_config(full if merged else trained, tmp_path / 'config.py')
    inferencer = ImageClassificationInferencer(
        str(tmp_path / 'config.py'), str(full if merged else trained), device='cpu'
    )
    files = sorted(map(str, (trained_classifier / 'data/images').glob('test_*.png')))
    expected = mmvpt.load(trained, device='cpu').predict(files, batch_size=1)
    for theirs, ours in zip(inferencer(files), expected):
        assert np.array_equal(theirs['pred_scores'], ours.scores)
        assert theirs['pred_class'] == ours.class_name


def test_mmseg(trained_segmentor, tmp_path):
    from mmseg.apis import MMSegInferencer

    trained = trained_segmentor / 'run/iter_2.pth'
    full = merge(trained, tmp_path / 'full.pth')
    write_config(full, tmp_path / 'config.py')
    inferencer = MMSegInferencer(
        str(tmp_path / 'config.py'), str(full), device='cpu', show_progress=False
    )
    assert tuple(inferencer.model.dataset_meta['classes']) == SEG_CLASSES
    files = sorted(map(str, (trained_segmentor / 'scenes/images').glob('*.png')))
    expected = mmvpt.load(trained, device='cpu').predict(files)
    found = [inferencer(file)['predictions'] for file in files]
    for theirs, ours in zip(found, expected):
        assert np.array_equal(theirs, ours.mask)


def test_merging_needs_an_ending(trained_classifier, tmp_path):
    with pytest.raises(CheckpointError, match=r'\.pth or \.safetensors'):
        merge(trained_classifier / 'run/epoch_1.pth', tmp_path / 'full.bin')
