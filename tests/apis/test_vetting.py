# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A config that came with a file builds models and transforms, nothing else."""

import copy
from dataclasses import replace

import pytest
import torch

import mmvpt
from mmvpt.apis import publish
from mmvpt.apis.vetting import vet
from mmvpt.checkpoint import CheckpointError
from mmvpt.checkpoint.config_data import from_data, to_data
from mmvpt.checkpoint.tuned import read_tuned
from tests.apis.tuned_runs import classifier, segmentor
from tests.config_files import ROOT
from tests.quick import swept

#: Of configs, one a method.
FOLDERS = sorted({path.parent.name for path in ROOT.glob('configs/*/metafile.yml')})


def test_configs_of_ours_pass(tmp_path):
    for config in (classifier(tmp_path).to_dict(), segmentor(tmp_path).to_dict()):
        vet(config)


@pytest.mark.parametrize('folder', swept(FOLDERS, 'baselines', 'davpt', 'rein'))
def test_configs_of_the_zoo_pass(folder):
    from mmengine.config import Config

    seen = {}  # one config for each kind of model and data
    for path in sorted((ROOT / 'configs' / folder).rglob('*.py')):
        seen[tuple(part[:4] for part in path.stem.split('_')[1:])] = path
    for path in seen.values():
        if 'mask2former' in path.stem:
            continue  # with mmdet: tests/models/seg/test_mask2former_files.py
        config = Config.fromfile(path)
        if not str(config.model.type).startswith('mmdet'):
            vet(config.to_dict())
    assert seen


CODE = dict(type='os.system', command='touch {ran}')


def evil(config, ran):
    """Yield configs that would run or import something, with what is refused."""
    code = {**CODE, 'command': f'touch {ran}'}

    def changed(path, value):
        content = copy.deepcopy(config)
        *parents, last = path
        part = content
        for key in parents:
            part = part[key]
        part[last] = value
        return content

    pipeline = ('test_dataloader', 'dataset', 'pipeline', 0)
    yield changed(('model', 'head'), code), 'os.system'
    yield changed(('model', 'backbone', 'prompt'), code), 'os.system'
    yield changed(('model', 'train_cfg'), dict(augments=code)), 'os.system'
    yield changed(('data_preprocessor',), dict(config['data_preprocessor'], x=code)), ''
    yield changed(pipeline, code), 'os.system'
    yield changed(('model', 'type'), 'antigravity'), 'antigravity'
    yield changed(('model', 'type'), 'mmengine.fileio.load'), 'mmengine.fileio'
    yield changed(('model', 'type'), 'Runner'), 'Runner'
    yield changed(('model', 'neck'), dict(type='TIMMBackbone')), 'TIMMBackbone'
    yield changed(('model', 'type'), 3), '3'
    yield changed(('default_scope',), 'antigravity'), 'antigravity'
    yield changed(('model', '_scope_'), 'antigravity'), 'antigravity'
    yield changed(('custom_imports',), dict(imports=['antigravity'])), 'import'
    yield changed(('model', 'head', 'trust_remote_code'), True), 'trust_remote_code'
    yield changed(pipeline, dict(type='Albu', transforms=[])), 'Albu'
    yield changed(pipeline, dict(type='LoadBiomedicalData')), 'LoadBiomedicalData'
    loss = dict(type='CrossEntropyLoss', class_weight='http://evil.example/x.pkl')
    yield changed(('model', 'head', 'loss'), loss), 'class_weight'
    yield changed(('model', 'head'), dict(type='VQAGenerationHead')), 'VQAGeneration'
    yield changed(('model',), dict(type='TimmClassifier')), 'TimmClassifier'


def test_others_are_refused(tmp_path, trained_classifier):
    ran = tmp_path / 'ran'
    tuned = read_tuned(trained_classifier / 'run/epoch_1.pth')
    config = from_data(dict(tuned.config))
    path = tmp_path / 'evil.safetensors'
    number = 0
    for content, what in evil(config, ran):
        replace(tuned, config=to_data(content)).save(path)
        with pytest.raises(CheckpointError, match='was not built') as error:
            mmvpt.load(path)
        assert what in str(error.value)
        number += 1
    assert number == 19 and not ran.exists()


def test_parts_that_are_not_built_may_be_anything(tmp_path, trained_classifier):
    tuned = read_tuned(trained_classifier / 'run/epoch_1.pth')
    config = from_data(dict(tuned.config))
    config['custom_hooks'] = [dict(CODE)]
    config['train_dataloader']['dataset']['type'] = 'my.own.Dataset'
    config['test_dataloader']['dataset']['type'] = 'my.own.Dataset'
    path = tmp_path / 'own.safetensors'
    replace(tuned, config=to_data(config)).save(path)
    assert mmvpt.load(path).class_names == ('a', 'b', 'c')


def test_classes_in_a_config_are_refused(tmp_path, trained_classifier):
    tuned = read_tuned(trained_classifier / 'run/epoch_1.pth')
    config = from_data(dict(tuned.config))
    config['model']['type'] = dict
    path = tmp_path / 'class.safetensors'
    replace(tuned, config=to_data(config)).save(path)
    with pytest.raises(CheckpointError, match="asks for 'builtins.dict' at model.type"):
        mmvpt.load(path)


def test_values_that_no_model_takes_are_named(tmp_path, trained_classifier):
    tuned = read_tuned(trained_classifier / 'run/epoch_1.pth')
    path = tmp_path / 'odd.safetensors'
    for part, value in (('backbone', dict(foo=3)), ('head', dict(num_classes=-1))):
        config = from_data(dict(tuned.config))
        config['model'][part].update(value)
        replace(tuned, config=to_data(config)).save(path)
        with pytest.raises(CheckpointError, match='no model can be built'):
            mmvpt.load(path)


@pytest.mark.parametrize(
    'values',
    [
        [1, 2],
        dict(mean=['a'], std=[1]),
        dict(mean=[0, 0, 0], std=[1, 0, 1]),
        dict(mean=[float('nan')] * 3, std=[1, 1, 1]),
        dict(mean=[0, 0, 0], std=[1, 1, 1], type='os.system'),
    ],
)
def test_a_normalization_of_no_use_is_refused(tmp_path, trained_classifier, values):
    tuned = read_tuned(trained_classifier / 'run/epoch_1.pth')
    path = tmp_path / 'odd.safetensors'
    replace(tuned, normalization=values).save(path)
    with pytest.raises(CheckpointError, match='description is incomplete'):
        mmvpt.load(path)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(classes=('a', 'b')), 'names 2 classes, the head of its model has 3'),
        (dict(classes=tuple('abcd')), 'names 4 classes, the head of its model has 3'),
        (dict(palette=((0, 0, 0),) * 2), 'has 2 colours for 3 classes'),
        (dict(classes=None, palette=((0, 0, 0),) * 4), 'has 4 colours for 3 classes'),
        (dict(palette=((0, 0, 0),) * 2 + ((0, 256, 0),)), r'colour 2 .* \(0, 256, 0\)'),
        (dict(palette=((0, 0, 0),) * 2 + ((0, -1, 0),)), 'each from 0 to 255'),
        (dict(palette=((0, 0, 0, 0),) * 3), r'a colour is \(R, G, B\)'),
        (dict(normalization=dict(mean=[0, 0], std=[1, 1])), 'mean: must be 3 numbers'),
        (
            dict(normalization=dict(mean=[0] * 4, std=[1] * 4)),
            'mean: must be 3 numbers',
        ),
    ],
)
def test_what_is_said_of_a_model_fits_it(
    tmp_path, trained_classifier, changes, message
):
    tuned = replace(read_tuned(trained_classifier / 'run/epoch_1.pth'), **changes)
    path = tmp_path / 'odd.safetensors'
    tuned.save(path)
    with pytest.raises(CheckpointError, match=message):
        mmvpt.load(path)
    meta = dict(mmvpt_tuned=tuned.describe())
    path = tmp_path / 'odd.pth'
    torch.save(dict(state_dict=tuned.marked_state(), meta=meta), path)
    with pytest.raises(CheckpointError, match=message):
        publish(path, tmp_path)
    assert not list(tmp_path.glob('odd-*'))


def test_one_mean_for_all_channels_is_enough(tmp_path, trained_classifier):
    tuned = read_tuned(trained_classifier / 'run/epoch_1.pth')
    path = tmp_path / 'grey.safetensors'
    replace(tuned, normalization=dict(mean=[9], std=[2])).save(path)
    assert mmvpt.load(path).model.data_preprocessor.mean.numel() == 1
