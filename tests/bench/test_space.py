# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Spaces, and whether a config has what they change."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmvpt.bench import LeakError
from mmvpt.bench.space import Space, check_keys, read_space

ROOT = Path(__file__).resolve().parents[2]


def test_values_that_change_several_keys():
    space = Space({'lr': [1, 2], 'prompts': [{'m': 1, 'b': 128}, {'m': 100, 'b': 64}]})
    assert space.size == 4
    assert space.overrides((1, 1)) == {'lr': 2, 'm': 100, 'b': 64}
    assert {k for d in space.dimensions for k in d.keys()} == {'lr', 'm', 'b'}


@pytest.mark.parametrize(
    'definition, message',
    [
        ({'lr': []}, 'is empty'),
        ({'lr': 0.1}, 'expected a list'),
        ({'lr': 'abc'}, 'expected a list'),
        ({'lr': dict(low=1, high=0)}, 'no range'),
        ({'lr': dict(low=0, high=1, log=True)}, 'no range'),
        ({'lr': dict(values=[1])}, 'a range is'),
    ],
)
def test_malformed_spaces(definition, message):
    with pytest.raises(ValueError, match=message):
        Space(definition)


def test_a_start_outside_of_the_space():
    with pytest.raises(ValueError, match='is none of'):
        Space({'lr': [1, 2]}, start={'lr': 3})
    with pytest.raises(ValueError, match='start names'):
        Space({'lr': [1, 2]}, start={'wd': 3})


def test_the_grid_of_vpt():
    space = read_space(ROOT / 'configs/search/vpt_grid.py')
    assert space.size == 240
    start = space.overrides(space.start)
    assert start['model.backbone.prompt.num_tokens'] == 10
    path = 'configs/vpt/vpt-deep_vit-base-p16_in21k_vtab-dtd.py'
    keys = {key for d in space.dimensions for key in d.keys()}
    check_keys(Config.fromfile(str(ROOT / path)), keys)


def test_space_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match='does not exist'):
        read_space(tmp_path / 'no.py')
    (tmp_path / 'empty.py').write_text('spaces = {}\n')
    with pytest.raises(ValueError, match='has no space'):
        read_space(tmp_path / 'empty.py')


@pytest.fixture(scope='module')
def config():
    path = 'configs/gatedvpt/gatedvpt_vit-digits_digits.py'
    return Config.fromfile(str(ROOT / path))


@pytest.mark.parametrize(
    'key',
    [
        'optim_wrapper.optimizer.lr',
        'optim_wrapper.optimizer.betas',  # of AdamW, not in the config
        'model.backbone.prompt.gate_init',
        'model.backbone.drop_path_rate',
        'default_hooks.finite_loss.interval',
        'train_cfg.max_epochs',
    ],
)
def test_keys_that_something_reads(config, key):
    check_keys(config, [key])


@pytest.mark.parametrize(
    'key, message',
    [
        ('model.backbone.prompt.num_tokns', "Did you mean 'num_tokens'"),
        ('optim_wraper.optimizer.lr', "Did you mean 'optim_wrapper'"),
        ('optim_wrapper.optimizer.momentum', "has no 'momentum'"),
        ('model.backbone.img_size.height', 'not a dict'),
        ('model.backbone.promt.num_tokens', "Did you mean 'prompt'"),
        ('train_dataloader.dataset.pipeline.7.scale', 'is a list of 3'),
    ],
)
def test_keys_that_nothing_reads(config, key, message):
    with pytest.raises(ValueError, match=message):
        check_keys(config, [key])


@pytest.mark.parametrize(
    'key',
    [
        'test_dataloader.dataset.data_root',
        'test_evaluator.type',
        'test_cfg.type',
        'tta_model.type',
        'test_dataloader',
    ],
)
def test_keys_that_change_the_test(config, key):
    with pytest.raises(LeakError, match=f'{key!r} changes the test'):
        check_keys(config, [key, 'optim_wrapper.optimizer.lr'])
