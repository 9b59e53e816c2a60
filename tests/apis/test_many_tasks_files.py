# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Checkpoints of many tasks, classes and maps, on one backbone; and as graphs."""

import numpy as np
import pytest
import torch

import mmvpt
from mmvpt.apis import TaskBank, build_model
from mmvpt.apis.export import export, read_metadata
from mmvpt.apis.many_tasks import backbone_of
from mmvpt.checkpoint.tuned import collect
from tests.apis.tuned_runs import SEG_CLASSES, classifier, segmentor
from tools import export as tool


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Untrained models with drawn tuned weights, by name."""
    root = tmp_path_factory.mktemp('tasks')
    configs = {
        'deep': classifier(root, 'vpt-deep'),
        'adaptive': classifier(root, 'vapt'),
        'davpt+': classifier(root, 'davpt-plus'),
        'scenes': segmentor(root, 'vpt-deep'),
        'slid': segmentor(root, 'vpt-deep', mode='slide'),
    }
    found = {}
    for seed, (name, config) in enumerate(configs.items()):
        torch.manual_seed(seed)
        model = build_model(config)
        model.init_weights()
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn_like(parameter)
        segments = config.model.type == 'EncoderDecoder'
        classes = SEG_CLASSES if segments else ('a', 'b', 'c')
        found[name] = root / f'{name}.safetensors'
        collect(model, config, classes=classes).save(found[name])
    return found


@pytest.fixture(scope='module')
def bank(files):
    bank = TaskBank()
    for name, path in files.items():
        bank.add(name, path)
    return bank


def test_one_copy_of_frozen_weights(bank):
    weights = {id(backbone_of(bank[n]).layers[0].attn.qkv.weight) for n in bank}
    assert len(weights) == 1


def test_mixed_images_are_predicted_as_by_each_task(bank, files):
    rng = np.random.default_rng(0)
    shapes = [(24, 24, 3), (24, 24, 3), (30, 20, 3)]
    images = [rng.integers(0, 256, shapes[k % 3], dtype=np.uint8) for k in range(10)]
    tasks = [list(files)[k % len(files)] for k in range(10)]
    found = bank.predict(images, tasks, batch_size=7)
    loaded = {name: mmvpt.load(path) for name, path in files.items()}
    for k, (image, name, result) in enumerate(zip(images, tasks, found)):
        (expected,) = loaded[name].predict(image)
        assert result.source == f'image {k}'
        assert result.class_names == expected.class_names
        if name in ('scenes', 'slid'):
            assert np.array_equal(result.mask, expected.mask)
        else:
            np.testing.assert_allclose(
                result.scores, expected.scores, rtol=0, atol=1e-6
            )
    with pytest.raises(ValueError, match='10 images, but 2 tasks'):
        bank.predict(images, ['deep', 'deep'])


def test_segmentation_as_a_graph(files, tmp_path, capsys):
    out = str(tmp_path / 'scenes.pt2')
    command = [str(files['scenes']), '--format', 'torch', '--size', '16', '32']
    facts = tool.main([*command, '--out', out])
    assert facts['largest_difference'] < 1e-5
    printed = capsys.readouterr().out
    assert 'images (batch, 3, 16, 32)' in printed and 'batches of 1, 2, 5' in printed
    found = read_metadata(tmp_path / 'scenes.pt2')
    assert found['kind'] == 'segmentation'
    assert found['classes'] == list(SEG_CLASSES)
    assert found['input']['channel_order'] == 'rgb'
    assert found['output']['shape'][:2] == ['batch', 4]
    assert 'vit.pth' in found['frozen_weights'][0]


@pytest.mark.sweep
def test_segmentation_in_onnxruntime(files, tmp_path):
    facts = export(mmvpt.load(files['scenes']), tmp_path / 'scenes.onnx')
    assert facts['largest_difference'] < 1e-5
