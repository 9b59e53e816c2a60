# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Every config of the tree builds: model, data on a miniature, optimizer, hooks."""

import copy
import traceback
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    DefaultScope,
)
from mmengine.visualization import Visualizer

from mmvpt.models.tunable import count_parameters
from tests.miniatures import make_fgvc, make_vtab1k

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    path
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.relative_to(ROOT / 'configs').parts
)

#: Classes of the folders that are a task themselves.
CLASSES = {'digits-source': 20, 'digits-target-seed0': 5, 'fashion_1k': 10}
BUILT = {}


@pytest.fixture(autouse=True)
def visualizer():
    """The runner builds it before the hooks, some of which look for it."""
    Visualizer.get_instance('test')


@pytest.fixture(scope='module')
def miniature(tmp_path_factory):
    """Return a function that builds the data a dataset config asks for, once."""
    made = {}

    def make(dataset):
        key = (dataset.type, dataset.get('task', dataset.get('name')))
        if key == ('mmvpt.VTAB1k', None):
            key = (*key, str(dataset.data_root))
        if key not in made:
            made[key] = root = tmp_path_factory.mktemp('data')
            if dataset.type == 'mmvpt.FGVC':
                make_fgvc(root, dataset.name)
            elif dataset.task is not None:
                make_vtab1k(root, dataset.task)
            else:
                classes = CLASSES[Path(dataset.data_root).name]
                folder = make_vtab1k(root, None, classes, size=(8, 8))
                for old, new in (('train800', 'train'), ('val200', 'val')):
                    text = (folder / f'{old}.txt').read_text()
                    (folder / f'{new}.txt').write_text(text)
        return made[key]

    return make


def build(path, miniature):
    """Build everything a config names, the model without memory (device meta)."""
    config = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        with torch.device('meta'):
            model = MODELS.build(copy.deepcopy(config.model))
        assert count_parameters(model)[0] > 0
        for stage in ('train', 'val', 'test'):
            build_data(config.get(f'{stage}_dataloader'), model, miniature)
        for stage in ('val', 'test'):
            if config.get(f'{stage}_evaluator') is not None:
                METRICS.build(copy.deepcopy(config[f'{stage}_evaluator']))
        wrapper = build_optim_wrapper(model, copy.deepcopy(config.optim_wrapper))
        tuned = {id(p) for p in model.parameters() if p.requires_grad}
        groups = wrapper.optimizer.param_groups
        assert {id(p) for group in groups for p in group['params']} == tuned
        if 'type' in config.train_cfg:
            assert LOOPS.get(config.train_cfg.type) is not None
        for hook in config.default_hooks.values():
            HOOKS.build(copy.deepcopy(hook))
        for hook in config.get('custom_hooks') or []:
            HOOKS.build(copy.deepcopy(hook))


def build_data(dataloader, model, miniature):
    """Build dataset, sampler and one sample; compare the numbers of classes."""
    if dataloader is None:
        return
    config = copy.deepcopy(dataloader.dataset)
    config.data_root = str(miniature(config))
    key = repr(config)
    if key not in BUILT:  # configs share most of their datasets
        BUILT[key] = DATASETS.build(config)
    dataset = BUILT[key]
    sampler = DATA_SAMPLERS.build(
        copy.deepcopy(dataloader.sampler), default_args=dict(dataset=dataset, seed=0)
    )
    if isinstance(sampler, DefaultSampler):
        assert not sampler.shuffle
    if 'batch_sampler' in dataloader:
        size = dataloader.batch_size
        batches = DATA_SAMPLERS.build(
            copy.deepcopy(dataloader.batch_sampler),
            default_args=dict(sampler=sampler, batch_size=size),
        )
        assert len(next(iter(batches))) == size
    sample = dataset[next(iter(sampler))]
    size = model.backbone.img_size
    assert sample['inputs'].shape == (3, *size)
    assert model.head.num_classes == len(dataset.metainfo['classes'])


def test_every_config_builds(miniature):
    assert len(CONFIGS) > 20
    failures = []
    for path in CONFIGS:
        try:
            build(path, miniature)
        except Exception:
            name = path.relative_to(ROOT)
            failures.append(f'{name}\n{traceback.format_exc(limit=-3)}')
    assert not failures, '\n\n'.join(failures)


def test_names_and_heads():
    """A config is found by its name, says where it comes from and how to run it."""
    for path in CONFIGS:
        name, text = path.relative_to(ROOT), path.read_text()
        head = text.split('\n_base_')[0].splitlines()
        assert all(line.startswith('#') for line in head), name
        assert f'configs/{path.parent.name}/{path.name}' in head[-1], name
        assert head[-1].startswith('# Run: '), name
        code = text.split('\n_base_')[1].splitlines()
        assert len(code) <= 25, f'{name} is long; move parts to configs/_base_'
