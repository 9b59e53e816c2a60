# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A config for a user's images and masks, which inherits from one of the zoo."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmvpt.datasets.own import FoundMasks, palette_of

from .cells import Recipe, base_names, classes_of_heads, merged, relative
from .own import PIPELINES, OwnTask, lead
from .source import Code, config, one_line

BATCH = 8  # fits one GPU; ADE20K's configs count on eight
EPOCHS = 100
#: Bounds of the number of iterations, ADE20K's and a start that schedules need.
MIN_ITERS, MAX_ITERS = 2000, 160000


def segmentation(
    found: FoundMasks,
    ignore_zero: bool,
    task: OwnTask,
    recipe: Recipe,
    out: Path,
) -> str:
    """Return the text of a config for segmentation.

    Args:
        found: Folders and endings.
        ignore_zero: Whether the value 0 does not count.
        task: The data.
        recipe: What it inherits, see :func:`mmvpt.zoo.own.choose`.
        out: Where the text will be.
    """
    inherited = recipe.config()
    num_classes = len(task.classes)
    # Two at least, for norms behind pooling; the endless sampler repeats images.
    batch = max(2, min(BATCH, task.counts['train']))
    epoch = math.ceil(task.counts['train'] / batch)
    iters = min(MAX_ITERS, max(MIN_ITERS, math.ceil(EPOCHS * epoch / 100) * 100))
    folders = {
        split: dict(img_path=relative(part.images), seg_map_path=relative(part.masks))
        for split, part in found.parts(task.splits).items()
    }
    alike = all(pair == folders['train'] for pair in folders.values())
    settings: dict[str, Any] = dict(
        model=_model(recipe, inherited, num_classes),
        own=dict(
            type='BaseSegDataset' if found.image_suffix else 'mmvpt.ImagesWithMasks',
            **(dict(data_prefix=folders['train']) if alike else {}),
            **(dict(img_suffix=found.image_suffix) if found.image_suffix else {}),
            seg_map_suffix=found.mask_suffix,
            reduce_zero_label=ignore_zero,
            metainfo=dict(classes=tuple(task.classes), palette=palette_of(num_classes)),
        ),
        own_steps={
            'mmvpt.CheckSegMap': dict(
                type='mmvpt.CheckSegMap', num_classes=num_classes
            ),
            'mmvpt.LoadSegMap': dict(type='mmvpt.LoadSegMap', drawn_on=found.drawn_on),
        },
    )
    for name in ('train', 'test'):
        settings[f'{name}_pipeline'] = Code(
            '[\n    own_steps.get(step.type, step) '
            f'for step in _base_.{name}_pipeline\n]'
        )
    for split, pipeline in PIPELINES.items():
        listed = split if split in task.counts else 'val'
        prefix = '' if alike else f'        data_prefix={one_line(folders[listed])},\n'
        call = (
            'dict(\n        _delete_=True,\n'
            f'        ann_file={f"{task.lists}/{listed}.txt"!r},\n{prefix}'
            f'        pipeline={pipeline}_pipeline,\n        **own,\n    )'
        )
        size = f'    batch_size={batch},\n' if split == 'train' else ''
        settings[f'{split}_dataloader'] = Code(
            f'dict(\n{size}    dataset={call},\n)'
            if size
            else f'dict(\n    dataset={call}\n)'
        )
    settings = merged(settings, _schedule(inherited, iters, epoch))
    settings = recipe.updated(settings).lines()
    return config([*lead(task, recipe, out)], base_names(recipe, out), settings)


def _model(recipe: Recipe, inherited: Config, num_classes: int) -> dict[str, Any]:
    model = classes_of_heads(inherited, num_classes)
    prompt = inherited.model.backbone.get('prompt') or {}
    if 'num_classes' in prompt:
        guided: dict[str, Any] = dict(num_classes=num_classes)
        if num_classes < prompt.get('num_guided_tokens', 20):
            guided['mapping'] = 'auto'  # one prompt for each class
        model.setdefault('backbone', {}).setdefault('prompt', {}).update(guided)
    return model


def _schedule(inherited: Config, iters: int, epoch: int) -> dict[str, Any]:
    """Shorten the schedule to ``iters`` iterations, warm-up in proportion."""
    whole = inherited.train_cfg.max_iters
    schedulers = inherited.param_scheduler
    schedulers = [schedulers] if isinstance(schedulers, dict) else schedulers
    shortened = [
        {
            key: value * iters // whole if key in ('begin', 'end') else value
            for key, value in dict(scheduler).items()
        }
        for scheduler in schedulers
    ]
    interval = max(1, iters // 10)
    hooks: dict[str, Any] = dict(checkpoint=dict(interval=interval))
    if 'semantic_mapping' in inherited.default_hooks:
        hooks['semantic_mapping'] = dict(interval=max(50, epoch))
    return dict(
        train_cfg=dict(max_iters=iters, val_interval=interval),
        param_scheduler=shortened,
        # lr is meant for the batch of eight GPUs
        auto_scale_lr=dict(enable=True),
        default_hooks=hooks,
    )
