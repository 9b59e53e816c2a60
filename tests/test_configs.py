# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Every config of the tree loads and fits its name; those that differ build."""

import copy
import traceback
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
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

from mmvpt.datasets import VTAB1k
from mmvpt.models.tunable import count_parameters
from tests.config_files import CONFIGS, OTHERS, ROOT, ZOO, load
from tests.miniatures import make_fgvc, make_vtab1k
from tests.segmentation import make_split

#: The tasks whose configs are built to the last part in the ordinary tests.
TASKS = ('flowers', 'vtab-dtd')
#: Images of a miniature of VTAB-1k at least: DA-VPT's batch, which must be full.
BATCH = 32
LOADERS = ('train', 'val', 'test')
#: Classes of the folders that are a task themselves.
CLASSES = {
    'digits-source': 20,
    'digits-target-seed0': 5,
    'fashion_1k': 10,
    'cub100_1k': 100,
}
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
        if 'seg_map_path' in dataset.get('data_prefix', ()):
            root = tmp_path_factory.mktemp('segmentation')
            make_split(root, dataset, number=1)
            return root
        key = (dataset.type, dataset.get('task', dataset.get('name')))
        if key == ('mmvpt.VTAB1k', None):
            key = (*key, str(dataset.data_root))
        if key not in made:
            made[key] = root = tmp_path_factory.mktemp('data')
            if dataset.type == 'mmvpt.FGVC':
                make_fgvc(root, dataset.name)
            elif dataset.task is not None:
                classes = VTAB1k.TASKS[dataset.task].num_classes
                make_vtab1k(root, dataset.task, per_class=-(-BATCH // classes))
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
    config = load(path)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        with torch.device('meta'):
            model = MODELS.build(copy.deepcopy(config.model))
        assert count_parameters(model)[0] > 0
        for stage in ('train', 'val', 'test'):
            build_data(config.get(f'{stage}_dataloader'), model, miniature)
        for stage in ('val', 'test'):
            if config.get(f'{stage}_evaluator') is not None:
                METRICS.build(copy.deepcopy(config[f'{stage}_evaluator']))
        optim_wrapper = copy.deepcopy(config.optim_wrapper)
        if optim_wrapper.type == 'AmpOptimWrapper':  # refuses a machine without a GPU
            optim_wrapper.type = 'OptimWrapper'
        wrapper = build_optim_wrapper(model, optim_wrapper)
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
    key = repr(config)
    if key not in BUILT:  # configs share most of their datasets
        config.data_root = str(miniature(config))
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
    classes = len(dataset.metainfo['classes'])
    if hasattr(model, 'decode_head'):
        heads = [model.decode_head, *_listed(getattr(model, 'auxiliary_head', None))]
        assert {head.num_classes for head in heads} == {classes}
        assert sample['inputs'].shape[0] == 3
        return
    size = model.backbone.img_size
    assert sample['inputs'].shape == (3, *size)
    assert model.head.num_classes == classes


def _listed(heads):
    if heads is None:
        return []
    return [heads] if not hasattr(heads, '__iter__') else list(heads)


def build_all(paths, miniature):
    """Build what ``paths`` name and say at once what fails.

    But Mask2Former, where its decoder's compiled operators are missing.
    """
    failures = []
    compiled = find_spec('mmdet') and find_spec('mmcv._ext')
    for path in paths:
        if 'mask2former' in path.stem and not compiled:
            continue
        try:
            build(path, miniature)
        except Exception:
            name = path.relative_to(ROOT)
            failures.append(f'{name}\n{traceback.format_exc(limit=-3)}')
    assert not failures, '\n\n'.join(failures)


def test_one_config_of_each_kind_builds(miniature):
    """One for each method, backbone and benchmark, and all that are no part of it."""
    chosen = [name for name in ZOO if name.task in TASKS]
    assert {name.kind for name in chosen} == {name.kind for name in ZOO}
    # Pascal Context is ADE20K's part with other data and classes
    others = [
        path
        for path in OTHERS
        if not path.stem.endswith('pascal-context') or path.stem.startswith('davpt_')
    ]
    build_all([*others, *(name.path for name in chosen)], miniature)


@pytest.mark.sweep
def test_every_config_builds(miniature):
    build_all(CONFIGS, miniature)


def test_every_config_fits_its_name():
    """Classes, data, splits, figures of merit and checkpoint are those of the name."""
    assert len(ZOO) > 500
    for name in ZOO:
        check_name(name, load(name.path))


def check_name(name, config):
    """Compare a config with what its name says."""
    where = name.path.stem
    model, classes = config.model, name.num_classes
    assert model.head.num_classes == classes, where
    prompt = model.backbone.get('prompt') or {}
    assert prompt.get('num_classes', classes) == classes, where
    checkpoint = model.backbone.init_cfg.checkpoint
    weights = checkpoint.rsplit('/', 1)[-1].removesuffix('.pth')
    assert weights == f'vit-base-p16_{name.backbone}', where

    key = 'task' if name.is_vtab else 'name'
    datasets = [
        config[f'{stage}_dataloader'].dataset
        for stage in LOADERS
        if config[f'{stage}_dataloader'] is not None
    ]
    assert {dataset[key] for dataset in datasets} == {name.key}, where
    splits = tuple(dataset.split for dataset in datasets)
    if not name.is_vtab:
        assert splits == ('train', 'val', 'test'), where
    elif name.method in ('gatedvpt', 'davpt-released'):  # on all images, as published
        assert splits == ('train800val200', 'test'), where
        assert config.val_cfg is config.val_evaluator is None, where
    else:
        assert splits == ('train800', 'val200', 'test'), where
    for stage in LOADERS[1:]:
        evaluator = config[f'{stage}_evaluator']
        if evaluator is not None:
            expected = (1, 5) if classes >= 5 else (1,)
            assert tuple(evaluator.topk) == expected, where


def test_names_and_heads():
    """A config is found by its name, says where it comes from and how to run it."""
    for path in CONFIGS:
        name, text = path.relative_to(ROOT), path.read_text()
        head = text.split('\n_base_')[0].splitlines()
        assert all(line.startswith('#') for line in head), name
        assert f'configs/{path.parent.name}/{path.name}' in head[-1], name
        assert head[-1].startswith('# Run: '), name
        code = text.split('\n_base_')[1].splitlines()
        assert len(code) <= (48 if 'released' in path.stem else 36), (
            f'{name} is long; move parts to configs/_base_'
        )
