# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A config for a user's images, which inherits from one of the zoo."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from mmvpt.errors import UserError

from .cells import CONFIGS, Recipe, base_names, compose, exchanged, relative
from .shipped import TASKS, available
from .source import Code, config

PIPELINES = dict(train='train', val='test', test='test')


def choose(
    method: str,
    backbone: str | None,
    kind: str = 'classification',
    head: str | None = None,
) -> Recipe:
    """Return what is inherited of the zoo, and set for another backbone.

    Args:
        method: As in the names of configs.
        backbone: As there, with or without ``vit-b_`` or ``vit-base-p16_`` before it;
            any other, see :func:`mmvpt.zoo.backbones.find_backbone`; None for the
            method's first one.
        kind: As in :func:`available`.
        head: One of ``mmvpt.zoo.cells.HEADS``, for segmentation; None for that of the
            config.

    Raises:
        UserError: If the zoo has no such config, and there is no such backbone.
    """
    if head is not None:
        return compose(method, backbone, TASKS[kind], head)
    methods = available(kind)
    if method not in methods:
        raise UserError(
            f'--method {method}: the zoo has no such method for {kind}. It has '
            f'{", ".join(methods)}.'
        )
    plain = re.sub(r'^vit-b(ase-p16)?_', '', backbone or '')
    if plain in methods[method]:
        return Recipe((methods[method][plain],), {})
    known = f'for {kind} the zoo has {method} on {", ".join(methods[method])}'
    first = Recipe((next(iter(methods[method].values())),), {})
    return exchanged(first, backbone, known)


class OwnTask(NamedTuple):
    """What a config says of the data."""

    name: str
    lists: str  # folder of the lists
    images: str  # folder of the images
    classes: Sequence[str]
    counts: Mapping[str, int]  # images in each split
    splits: Mapping[str, Sequence[str]]  # their names
    command: str  # what wrote the config
    multi_label: bool = False  # images have any number of classes


def classification(task: OwnTask, recipe: Recipe, out: Path) -> str:
    """Return the text of a config for classification.

    Args:
        task: The data.
        recipe: What it inherits, see :func:`choose`.
        out: Where the text will be.
    """
    inherited = recipe.config()
    num_classes = len(task.classes)
    settings = deepcopy(recipe.settings)
    model = settings.setdefault('model', {})
    head = model.setdefault('head', {})
    head['num_classes'] = num_classes
    prompt = inherited.model.backbone.get('prompt') or {}
    if 'num_classes' in prompt:
        if task.multi_label:
            raise UserError(
                f'{shown(recipe)} guides its prompts by the one class of each image, '
                'which images with several classes do not have. Choose a method '
                'without guidance, such as --method vpt-deep.'
            )
        guided: dict[str, Any] = dict(num_classes=num_classes)
        if num_classes < prompt.num_guided_tokens:  # one prompt for each class
            guided['mapping'] = 'auto'
        model.setdefault('backbone', {}).setdefault('prompt', {}).update(guided)
    settings['own'] = dict(
        type='mmvpt.MultiLabel' if task.multi_label else 'mmvpt.VTAB1k',
        **({} if task.multi_label else dict(task=None)),
        data_root=task.lists,
        image_root=task.images,
    )
    batch = fitting_batch(inherited.train_dataloader.batch_size, task.counts['train'])
    for split, pipeline in PIPELINES.items():
        # Without test images the validation's are all there is to read.
        listed = split if split in task.counts else 'val'
        name = f'{pipeline}_pipeline'
        name = name if name in inherited else 'pipeline'  # without augmentation
        call = f'dict(_delete_=True, split={listed!r}, pipeline=_base_.{name}, **own)'
        loader: dict[str, Any] = dict(dataset=Code(call))
        if split == 'train' and batch != inherited.train_dataloader.batch_size:
            loader = dict(batch_size=batch, **loader)
        settings[f'{split}_dataloader'] = loader
    if task.multi_label:
        _several_labels(inherited, settings)
    elif num_classes < 5:  # no top-5 accuracy
        for split in ('val', 'test'):
            settings[f'{split}_evaluator'] = dict(topk=(1,))
    return config([*lead(task, recipe, out)], base_names(recipe, out), settings)


def _several_labels(inherited: Config, settings: dict[str, Any]) -> None:
    """Give the config a sigmoid for each class, and metrics for such scores."""
    head = inherited.model.head
    kept = {key: head[key] for key in ('in_channels', 'init_cfg') if key in head}
    settings['model']['head'] = dict(
        _delete_=True,
        type='MultiLabelLinearClsHead',
        **{**kept, **settings['model']['head']},
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True),
        thr=0.5,
    )
    evaluator = [dict(type='AveragePrecision'), dict(type='MultiLabelMetric', thr=0.5)]
    settings['val_evaluator'] = settings['test_evaluator'] = evaluator
    if 'save_best' in (inherited.get('default_hooks') or {}).get('checkpoint', {}):
        best = dict(save_best='multi-label/mAP', rule='greater')
        settings['default_hooks'] = dict(checkpoint=best)


def fitting_batch(batch_size: int, num_train: int) -> int:
    """Return the batch size, halved until the training images fill a batch."""
    while batch_size > max(2, num_train):
        batch_size //= 2
    return batch_size


def lead(task: OwnTask, recipe: Recipe, out: Path) -> Iterator[str]:
    """Yield the paragraphs that a config starts with; arguments as above."""
    counts = ', '.join(f'{split} {count}' for split, count in task.counts.items())
    yield f'{task.name}: {len(task.classes)} classes; {counts} images.'
    yield (
        f'Values are those of {shown(recipe)}: choose lr, weight decay and the like '
        'on val.'
    )
    yield f'Written by: {task.command}'
    yield f'Run: python tools/train.py {relative(out)}'


def shown(recipe: Recipe) -> str:
    """Return what is inherited as it is named in messages."""
    names = [base.relative_to(CONFIGS).as_posix() for base in recipe.bases]
    return ', '.join(f'configs/{name}' for name in names)


def last_checkpoint(settings: Config) -> str:
    """Return the name of the checkpoint that training ends with.

    Args:
        settings: The config.
    """
    loop = settings.train_cfg
    if 'max_iters' in loop:
        return f'iter_{loop.max_iters}.pth'
    return f'epoch_{loop.get("max_epochs", 1)}.pth'
