# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What the options of a training or a test change in its config."""

from __future__ import annotations

import copy
import itertools
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict

from mmvpt.datasets.seg_maps import IGNORED
from mmvpt.errors import UserError

from .check_rules import find

_RUNS = itertools.count()


def training_config(
    config: Config,
    *,
    work_dir: str | os.PathLike | None = None,
    amp: bool = False,
    validate: bool = True,
    auto_scale_lr: bool = False,
    pin_memory: bool = True,
    persistent_workers: bool = True,
) -> Config:
    """Put the options of a training into its config.

    Args:
        config: Changed in place.
        work_dir: Folder for logs and checkpoints [that of the config, or
            work_dirs/<config name>].
        amp: Mixed precision (bfloat16 on the CPU).
        validate: Validate during training.
        auto_scale_lr: Scale the learning rate by batch size /
            auto_scale_lr.base_batch_size.
        pin_memory: Let data loaders pin memory.
        persistent_workers: Keep the data-loading workers from epoch to epoch.
    """
    _name_run(config, work_dir)
    if not validate:
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
    if amp:
        _use_amp(config)
    scaling = config.get('auto_scale_lr') or {}
    if auto_scale_lr:
        scaling = config.auto_scale_lr = ConfigDict(scaling, enable=True)
    if scaling.get('enable') and 'base_batch_size' not in scaling:
        raise UserError(
            '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the '
            f'config {config.filename or ""}'.rstrip()
        )
    _set_dataloader_defaults(config, pin_memory, persistent_workers)
    _check_masks(config)
    return config


def testing_config(
    config: Config,
    checkpoint: str | os.PathLike,
    *,
    work_dir: str | os.PathLike | None = None,
    amp: bool = False,
    show: bool = False,
    show_dir: str | os.PathLike | None = None,
    interval: int = 1,
    wait_time: float = 2,
    tta: bool = False,
    pin_memory: bool = True,
) -> Config:
    """Put the options of a test into its config.

    Args:
        config: Changed in place.
        checkpoint: File or URL.
        work_dir: Folder for logs [that of the config, or work_dirs/<config name>].
        amp: Mixed precision.
        show: Show results in a window.
        show_dir: Folder for pictures of the results.
        interval: Picture every n-th image.
        wait_time: Seconds per window with ``show``.
        tta: Test-time augmentation: ``tta_model`` and ``tta_pipeline`` of the config,
            or a horizontal flip for classification.
        pin_memory: Let data loaders pin memory.
    """
    _name_run(config, work_dir)
    require(config, 'test_dataloader', 'test_cfg', 'test_evaluator')
    # Training objects need data that a test does not.
    for field in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        config[field] = None
    config.load_from, config.resume = str(checkpoint), False
    add_hook(config, 'mmvpt.CompleteWeightsHook')
    if amp:
        config.test_cfg.fp16 = True
    if show or show_dir:
        drawing = dict(show=show, wait_time=wait_time, interval=interval)
        _show(config, str(show_dir) if show_dir else None, drawing)
    if tta:
        _augment(config, bool(show or show_dir))
    _set_dataloader_defaults(config, pin_memory)
    _check_masks(config)
    return config


def require(config: Config, *fields: str) -> None:
    """Raise UserError if the config lacks one of the fields."""
    for field in fields:
        if config.get(field) is None:
            raise UserError(f'the config {config.filename or ""} has no {field}')


def _name_run(config: Config, work_dir: str | os.PathLike | None) -> None:
    """Set the work dir, and a name that no other run of this process has.

    mmengine names the logger and the stores of scalars after config and second, so two
    short runs in one process would share them.
    """
    name = Path(config.filename or 'config').stem
    if work_dir is not None:
        config.work_dir = str(work_dir)
    elif config.get('work_dir') is None:
        config.work_dir = str(Path('work_dirs') / name)
    folder = Path(config.work_dir)
    there = next((place for place in (folder, *folder.parents) if place.exists()), None)
    if there is not None and not there.is_dir():
        raise UserError(
            f'--work-dir {folder}: {there} is a file, where a folder is needed. Choose '
            'another one.'
        )
    run = next(_RUNS)
    config.experiment_name = config.get('experiment_name') or (
        name + (f'-{run}' if run else '')
    )


def _use_amp(config: Config) -> None:
    """Switch the optimizer wrapper to mixed precision."""
    wrapper = config.optim_wrapper
    current = wrapper.get('type', 'OptimWrapper')
    if current in ('AmpOptimWrapper', 'mmvpt.AutocastOptimWrapper'):
        return
    if current != 'OptimWrapper':
        raise UserError(
            '--amp replaces an optim_wrapper of type OptimWrapper, but the config has '
            f'{current}'
        )
    if torch.cuda.is_available():
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
    else:
        wrapper.type = 'mmvpt.AutocastOptimWrapper'


def _set_dataloader_defaults(
    config: Config, pin_memory: bool, persistent_workers: bool = True
) -> None:
    """Give data loaders the defaults that mmpretrain's own tools give.

    They stack images, pin memory (with a GPU) and keep their workers (with workers).
    Configs of other scopes are left alone, and so is what a config sets itself.
    """
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config.get(field)
        if loader is None:
            continue
        if config.get('default_scope') == 'mmpretrain':
            has_workers = loader.get('num_workers') not in (None, 0)
            loader.setdefault('collate_fn', dict(type='default_collate'))
            loader.setdefault('pin_memory', has_workers and torch.cuda.is_available())
            loader.setdefault('persistent_workers', has_workers)
        if not pin_memory:
            loader['pin_memory'] = False
        if not persistent_workers:
            loader['persistent_workers'] = False


def _check_masks(config: Config) -> None:
    """Let mmseg's pipelines check the masks that they load, where they do not yet."""
    head = (config.get('model') or {}).get('decode_head')
    head = head[-1] if isinstance(head, (list, tuple)) and head else head
    count = head.get('num_classes') if isinstance(head, dict) else None
    if config.get('default_scope') != 'mmseg' or not isinstance(count, int):
        return
    ignored = head.get('ignore_index', IGNORED)
    if not 1 <= count <= ignored <= IGNORED or count == IGNORED:  # not of eight bits
        return
    check = dict(type='mmvpt.CheckSegMap', num_classes=count, ignore_index=ignored)
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for _, steps in find(config.get(field), 'pipeline', field):
            kinds = [isinstance(step, dict) and step.get('type') for step in steps]
            kinds = [str(kind).rpartition('.')[2] for kind in kinds]
            if 'LoadAnnotations' in kinds and 'CheckSegMap' not in kinds:
                steps.insert(kinds.index('LoadAnnotations') + 1, ConfigDict(check))


def _show(config: Config, folder: str | None, drawing: dict[str, Any]) -> None:
    """Switch the visualization hook on; the two scopes name its options differently."""
    hook = config.setdefault('default_hooks', ConfigDict()).get('visualization')
    if config.get('default_scope') == 'mmseg':
        hook = hook or ConfigDict(type='SegVisualizationHook')
        hook.draw = True
        if folder:
            config.visualizer.save_dir = folder
    else:
        hook = hook or ConfigDict(type='VisualizationHook')
        hook.enable = True
        if hook.type.rpartition('.')[2] == 'VisualizationHook':
            hook.type = 'mmvpt.DistinctPicturesHook'
        hook.out_dir = folder
    hook.update(drawing)
    config.default_hooks.visualization = hook


def _augment(config: Config, pictures: bool) -> None:
    """Set up test-time augmentation."""
    pipeline = config.test_dataloader.dataset.pipeline
    if config.get('default_scope') == 'mmpretrain':
        if pictures:
            raise UserError(
                'mmpretrain draws single images, not the copies of --tta; leave one of '
                'them out'
            )
        config.setdefault('tta_model', dict(type='mmpretrain.AverageClsScoreTTA'))
        flips = [dict(type='RandomFlip', prob=prob) for prob in (1.0, 0.0)]
        transforms = [flips, [copy.deepcopy(pipeline[-1])]]
        flip = dict(type='TestTimeAug', transforms=transforms)
        config.setdefault('tta_pipeline', [*copy.deepcopy(pipeline[:-1]), flip])
    for field in ('tta_model', 'tta_pipeline'):
        if config.get(field) is None:
            raise UserError(f'--tta needs {field} in the config')
    config.model = ConfigDict(**config.tta_model, module=config.model)
    config.test_dataloader.dataset.pipeline = config.tta_pipeline


def add_hook(config: Config, name: str) -> None:
    """Add a custom hook to a config."""
    config.custom_hooks = [*(config.get('custom_hooks') or []), dict(type=name)]
