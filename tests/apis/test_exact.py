# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Train, publish, load, predict: bit for bit what testing the run computes."""

import copy

import numpy as np
import pytest
import torch

import mmvpt
from mmvpt.apis import merge, publish
from mmvpt.checkpoint import read_checkpoint
from mmvpt.checkpoint.tuned import read_tuned, training_names
from tests.apis.tuned_runs import (
    PALETTE,
    PROMPTS,
    SEG_CLASSES,
    classifier,
    segmentor,
    test,
    train,
)
from tests.quick import swept


def images(folder, runs):
    """Return the test images in the order of the data set."""
    found = sorted(folder.glob(runs), key=lambda p: (len(p.stem), p.stem))
    assert len(found) > 2
    return found


@pytest.mark.parametrize('method', swept(PROMPTS, 'davpt-plus', 'provpt', 'sa2vp'))
def test_classification(tmp_path, method):
    config = classifier(tmp_path, method)
    runner = train(config.copy())
    trained = tmp_path / 'run/epoch_1.pth'
    dumped = test(config.copy(), trained)

    release = publish(trained, tmp_path / 'release' / method)
    files = images(tmp_path / 'data/images', 'test_*.png')
    full = merge(trained, tmp_path / 'full.pth')
    (tmp_path / 'elsewhere.pth').write_bytes((tmp_path / 'vit.pth').read_bytes())
    for loaded in (
        mmvpt.load(trained),
        mmvpt.load(release, weights=tmp_path / 'elsewhere.pth'),
        mmvpt.load(full),
        mmvpt.load(config.copy(), weights=trained),
    ):
        found = loaded.predict(files)
        for sample, result in zip(dumped, found):
            assert np.array_equal(result.scores, sample['pred_score'].numpy())
            assert result.label == int(sample['pred_label'])
            assert result.class_name == 'abc'[result.label]
        assert len(found) == len(dumped) == len(files)
    needless = training_names(runner.model)
    for name, value in runner.model.state_dict().items():
        if name not in needless:
            assert torch.equal(loaded.model.state_dict()[name], value), name


@pytest.mark.parametrize('method', swept(PROMPTS, 'vpt-deep', 'rein', 'davpt-plus'))
def test_segmentation(tmp_path, method):
    mode = 'slide' if method == 'vpt-deep' else 'whole'
    config = segmentor(tmp_path, method, mode=mode)
    train(config.copy())
    trained = tmp_path / 'run/iter_2.pth'
    dumped = test(config.copy(), trained)

    release = publish(trained, tmp_path / 'release')
    loaded = mmvpt.load(release, weights=tmp_path / 'vit.pth')
    found = loaded.predict(images(tmp_path / 'scenes/images', '*.png'))
    for sample, result in zip(dumped, found):
        mask = sample['pred_sem_seg']['data'][0].numpy()
        assert result.mask.shape in ((24, 32), (30, 26))
        assert np.array_equal(result.mask, mask)
        assert result.class_names == SEG_CLASSES and result.palette == PALETTE
    state = read_tuned(release).state
    assert 'decode_head.convs.0.bn.running_mean' in state
    assert float(state['decode_head.convs.0.bn.running_mean'].abs().sum()) > 0


def test_release_holds_what_use_needs(tmp_path):
    config = classifier(tmp_path, 'davpt-plus')
    train(config.copy())
    trained = tmp_path / 'run/epoch_1.pth'
    state = read_checkpoint(trained)['state_dict']
    assert not any(n.endswith(('qkv.weight', 'fc1.weight')) for n in state)
    assert 'backbone.prompt.class_sums' in state  # resuming needs it
    release = read_tuned(publish(trained, tmp_path / 'release'))
    assert sorted(release.state) == [
        'backbone.cls_token',
        'backbone.layers.0.attn.tuned_bias.key',
        'backbone.layers.0.attn.tuned_bias.value',
        'backbone.layers.1.attn.tuned_bias.key',
        'backbone.layers.1.attn.tuned_bias.value',
        'backbone.prompt.class_to_prompt',
        'backbone.prompt.guided_tokens',
        'backbone.prompt.tokens',
        'head.fc.bias',
        'head.fc.weight',
    ]
    assert release.classes == ('a', 'b', 'c')
    assert release.class_to_prompt == {'a': 0, 'b': 1, 'c': 0}
    assert release.normalization == dict(mean=[127.5] * 3, std=[127.5] * 3)
    assert release.training['epoch'] == 1
    text = str(release.config)
    assert str(tmp_path) not in text and 'vit.pth' in text
    assert 'work_dir' not in text and 'visualizer' not in release.config


def test_a_full_checkpoint_publishes_to_the_same(tmp_path):
    for tuned_only in (True, False):
        train(
            classifier(
                tmp_path,
                'davpt-plus',
                tuned_only,
                work_dir=str(tmp_path / f'run-{tuned_only}'),
            )
        )
    small, large = (tmp_path / f'run-{t}/epoch_1.pth' for t in (True, False))
    assert small.stat().st_size < large.stat().st_size
    ours, theirs = (
        read_tuned(publish(path, tmp_path / 'release' / path.parent.name))
        for path in (small, large)
    )
    assert ours.frozen == theirs.frozen and ours.state.keys() == theirs.state.keys()
    assert all(torch.equal(ours.state[n], theirs.state[n]) for n in ours.state)


def test_other_frozen_weights_are_refused(tmp_path):
    from mmvpt.checkpoint.fingerprint import FingerprintError
    from tests.apis.tuned_runs import write_frozen

    config = classifier(tmp_path)
    train(config.copy())
    trained = tmp_path / 'run/epoch_1.pth'
    other = write_frozen(tmp_path / 'other.pth', config.model.backbone, seed=1)
    mark = read_tuned(trained).frozen['backbone']
    with pytest.raises(FingerprintError) as error:
        mmvpt.load(trained, weights=other)
    assert f'vit.pth (fingerprint {mark.sha256[:12]})' in str(error.value)
    assert 'other.pth (fingerprint ' in str(error.value)
    changed = copy.deepcopy(config)
    changed.model.backbone.init_cfg.checkpoint = str(other)
    with pytest.raises(FingerprintError, match='other.pth'):
        test(changed.copy(), trained)
    with pytest.raises(FingerprintError, match='other.pth'):
        train(changed.copy(), resume=trained)
    wide = dict(config.model.backbone.arch, embed_dims=48)
    backbone = dict(config.model.backbone, arch=wide)
    with pytest.raises(FingerprintError, match=r'does not fit the backbone') as error:
        mmvpt.load(trained, weights=write_frozen(tmp_path / 'wide.pth', backbone))
    assert f'vit.pth (fingerprint {mark.sha256[:12]})' in str(error.value)
    assert 'loading wide.pth (fingerprint ' in str(error.value)
    (tmp_path / 'vit.pth').unlink()
    with pytest.raises(FingerprintError, match=r'weights= of mmvpt\.load'):
        mmvpt.load(trained)
