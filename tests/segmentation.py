# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Segmentation in miniature: data in any layout of mmseg, configs made small."""

from __future__ import annotations

import inspect
import itertools

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from mmvpt.weights import architecture
from tests.config_files import ROOT
from tests.miniatures import write_image

#: Sizes (height, width) of the images, in turn.
SIZES = ((40, 56), (48, 40), (37, 61))
CROP = 32
_RUNS = itertools.count()


def write_map(path, size, rng, highest=4):
    """Write a map of patches with values 0 to ``highest``."""
    coarse = rng.integers(0, highest + 1, (3, 3), dtype=np.uint8)
    seg_map = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), seg_map)


def make_split(root, dataset, number=3):
    """Write the images and maps that a dataset config of mmseg's scope reads."""
    rng = np.random.default_rng(len(dataset.data_prefix.img_path))
    name = dataset.type if '.' in dataset.type else f'mmseg.{dataset.type}'
    defaults = inspect.signature(DATASETS.get(name)).parameters
    suffixes = {
        key: dataset.get(key) or defaults[key].default
        for key in ('img_suffix', 'seg_map_suffix')
    }
    names = [f'image_{i:03d}' for i in range(number)]
    for i, name in enumerate(names):
        size = SIZES[i % len(SIZES)]
        prefix = dataset.data_prefix
        write_image(root / prefix.img_path / (name + suffixes['img_suffix']), size, rng)
        path = root / prefix.seg_map_path / (name + suffixes['seg_map_suffix'])
        write_map(path, size, rng)
    if dataset.get('ann_file'):
        path = root / dataset.ann_file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('\n'.join(names) + '\n')


def make_data(root, config, number=3):
    """Write the data of all loaders of a config below ``root``."""
    for stage in ('train', 'val', 'test'):
        if config.get(f'{stage}_dataloader') is not None:
            make_split(root, config[f'{stage}_dataloader'].dataset, number)
    return root


def small(name, data_root, crop=(CROP, CROP), **changes):
    """Return a config of the tree made small: width 24, 4 layers, patches of 8 pixels.

    Args:
        name: Path below configs/.
        data_root: Folder of the data.
        crop: Height and width of the crops.
        **changes: Dotted keys, with ``__`` for the dot.
    """
    config = Config.fromfile(str(ROOT / 'configs' / name))
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.dataset.data_root, loader.num_workers = str(data_root), 0
        for step in loader.dataset.pipeline:
            for inner in (step, *step.get('transforms', [])):
                _shrink(inner, crop)
    config.test_dataloader = config.val_dataloader
    for step in config.tta_pipeline[1].transforms[0]:
        _shrink(step, crop)
    shrink_model(config.model, crop)
    if isinstance(config.param_scheduler, dict):
        config.param_scheduler = [config.param_scheduler]
    for scheduler in config.param_scheduler:
        if scheduler.type == 'LinearLR':
            scheduler.update(start_factor=0.5, end=2)
        else:
            scheduler.update(begin=len(config.param_scheduler) - 1, end=8)
    if 'semantic_mapping' in config.default_hooks:
        config.default_hooks.semantic_mapping.interval = 1
    changes = dict(
        dict(
            experiment_name=f'segmentation-{next(_RUNS)}',
            default_hooks__logger__interval=1,
            default_hooks__checkpoint__interval=1,
            train_cfg__max_iters=2,
            train_cfg__val_interval=2,
        ),
        **changes,
    )
    config.merge_from_dict({key.replace('__', '.'): v for key, v in changes.items()})
    return config


def _shrink(step, crop):
    if step.type in ('Resize', 'RandomResize'):
        step.scale = (2 * crop[1], crop[0])
    elif step.type == 'RandomCrop':
        step.crop_size = crop


def shrink_model(model, crop):
    """Make backbone, neck and heads of a config small, in place."""
    model.data_preprocessor.size = crop
    backbone = model.backbone
    named = isinstance(backbone.arch, str)
    family = architecture.SIZES[backbone.arch][0] if named else 'vit'
    backbone.arch = dict(
        family=family,
        embed_dims=24,
        num_layers=4,
        num_heads=2,
        feedforward_channels=48,
    )
    levels = len(backbone.out_indices)
    backbone.out_indices = list(range(4 - levels, 4))
    backbone.img_size, backbone.patch_size, backbone.init_cfg = crop, 8, None
    prompt = backbone.get('prompt')
    if prompt:
        prompt.num_tokens = 4
        if prompt.type == 'DistributionAwarePrompt':
            prompt.num_guided_tokens = 2
        elif prompt.type == 'GatedPrompt':
            prompt.gate_init = 1
    if model.test_cfg.mode == 'slide':
        model.test_cfg.crop_size = crop
        model.test_cfg.stride = tuple(side * 2 // 3 for side in crop)
    width = 24
    if model.get('neck') and model.neck.type == 'MultiLevelNeck':
        model.neck.update(in_channels=[24] * levels, out_channels=16)
        width = 16
    elif model.get('neck') and model.neck.type == 'Feature2Pyramid':
        model.neck.embed_dim = 24
    heads = model.get('auxiliary_head') or []
    if prompt and prompt.get('query_dims'):
        model.decode_head.num_queries = prompt.num_tokens
        prompt.rank = 2
    for head in (model.decode_head, *(heads if isinstance(heads, list) else [heads])):
        several = isinstance(head.in_channels, list)
        head.in_channels = [width] * levels if several else width
        if 'channels' in head:
            head.channels = 24 if head.get('num_convs') == 0 else 16
