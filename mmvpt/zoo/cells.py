# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A config for any cell: a method, a backbone, a head and data, each from its row."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from mmvpt.errors import UserError
from mmvpt.files import ROOT

from . import source
from .backbones import find_backbone, other_backbone, without_cls
from .shipped import BACKBONES
from .tables import TASKS

CONFIGS = ROOT / 'configs'
PARTS = CONFIGS / '_base_'


class Head(NamedTuple):
    """A head for segmentation, frozen ViT-B/16 before it, and its recipe."""

    title: str
    base: str  # below configs/_base_/models
    schedule: str = 'upernet_adamw_160k'


class Method(NamedTuple):
    """What a method adds to a frozen backbone with a head for segmentation."""

    title: str
    folder: str
    backbone: Mapping[str, Any]
    runtime: str = 'segmentation_runtime'
    settings: Mapping[str, Any] = {}


class Data(NamedTuple):
    """Images with masks."""

    title: str
    base: str  # below configs/_base_/datasets
    num_classes: int


HEADS = {
    'upernet': Head('UPerNet', 'upernet_vit-base-p16'),
    'linear': Head('a linear head', 'seg-linear_vit-base-p16'),
    'mask2former': Head(
        'Mask2Former (needs mmdetection)',
        'mask2former_vit-base-p16',
        'mask2former_adamw_160k',
    ),
    'setr-pup': Head('SETR-PUP', 'setr-pup_vit-large-p16', 'setr_sgd_160k'),
}
_GUIDED = dict(type='DistributionAwarePrompt', init_divisor=8.0)
_DAVPT_RUNTIME = 'segmentation_davpt_runtime'
METHODS = {
    'frozen': Method('Frozen backbone', 'baselines', {}),
    'vpt-deep': Method(
        'VPT-deep', 'vpt', dict(prompt=dict(type='DeepPrompt', num_tokens=20))
    ),
    'davpt': Method('DA-VPT', 'davpt', dict(prompt=_GUIDED), _DAVPT_RUNTIME),
    'davpt-plus': Method(
        'DA-VPT+', 'davpt', dict(prompt=_GUIDED, tunable='davpt+'), _DAVPT_RUNTIME
    ),
    'lora': Method(
        'LoRA of queries and values, rank 8',
        'baselines',
        dict(adapter=dict(type='LoRA', rank=8)),
        settings=dict(optim_wrapper=dict(paramwise_cfg=dict(flat_decay_mult=0.0))),
    ),
}
#: Names of methods that are others for classification.
ALIASES = {'frozen': 'linear'}
DATA = {
    'ade20k': Data('ADE20K', 'ade20k', 150),
    'pascal-context': Data('Pascal Context', 'pascal_context', 60),
    'pascal-context-59': Data(
        'Pascal Context without background', 'pascal_context_59', 59
    ),
}
#: Cells that are files of the tree: the main method, one size of each family.
SHIPPED = [
    ('davpt-plus', f'{family}-b', head, 'ade20k')
    for family in ('dinov2', 'dinov2-reg', 'dinov3', 'siglip2')
    for head in ('linear', 'upernet', 'mask2former')
]


class Recipe(NamedTuple):
    """What a config inherits, and what it sets besides."""

    bases: tuple[Path, ...]
    settings: dict[str, Any]

    def config(self) -> Config:
        """Return everything together."""
        config = deepcopy(_read(self.bases))
        config.merge_from_dict(deepcopy(self.settings))
        return config

    def lines(self) -> dict[str, Any]:
        """Return the settings as they are written; alike entries of a list together."""
        settings = deepcopy(self.settings)
        model = settings.get('model', {})
        loss = model.get('decode_head', {}).get('loss_cls', {})
        if 'class_weight' in loss:
            *weights, last = loss['class_weight']
            code = f'[{weights[0]}] * {len(weights)} + [{last}]'
            loss['class_weight'] = source.Code(code)
        heads = model.get('auxiliary_head')
        if isinstance(heads, list):
            old = _read(self.bases).model.auxiliary_head
            changes = [
                {key: value for key, value in head.items() if value != before.get(key)}
                for head, before in zip(heads, old)
            ]
            if len(heads) == len(old) and all(c == changes[0] for c in changes):
                more = ', '.join(
                    f'{key}={value!r}' for key, value in changes[0].items()
                )
                model['auxiliary_head'] = source.Code(
                    f'[\n        dict(head, {more})\n'
                    '        for head in _base_.model.auxiliary_head\n    ]'
                )
        return settings

    def updated(self, more: Mapping[str, Any]) -> Recipe:
        """Return it with further settings, which replace what is there."""
        return self._replace(settings=merged(self.settings, more))


@lru_cache
def _read(bases: tuple[Path, ...]) -> Config:
    """Return what a config inherits of several files, or of one."""
    names = [base.as_posix() for base in bases]
    return Config.fromstring(source.config([], names, {}), '.py')


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings; those of ``second`` win."""
    result = deepcopy(dict(first))
    for key, value in second.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = merged(old, value)
        else:
            result[key] = deepcopy(value)
    return result


def zoo_configs(task: str) -> dict[str, dict[str, Path]]:
    """Return the configs of a task for classification: method, pretraining, file."""
    found: dict[str, dict[str, Path]] = {}
    for backbone in BACKBONES:
        end = f'_vit-base-p16_{backbone}_{task}'
        for path in sorted(CONFIGS.glob(f'*/*{end}.py')):
            method = path.stem.removesuffix(end)
            found.setdefault(method, {})[backbone] = path
    return found


def compose(
    method: str, backbone: str | None, data: str, head: str | None = None
) -> Recipe:
    """Return what the config of a cell inherits and sets.

    Args:
        method: For segmentation one of ``METHODS``; for classification any of the
            zoo's, ``frozen`` the linear probe.
        backbone: As in :func:`mmvpt.zoo.backbones.find_backbone`; None for the one
            that the parts have.
        data: One of ``DATA``, or a task of the zoo such as ``cub``.
        head: One of ``HEADS``, for segmentation alone; UPerNet by default.

    Raises:
        UserError: If there is no such row.
    """
    if data in DATA:
        return _segmentation(
            _row(METHODS, method, 'method'),
            backbone,
            _row(DATA, data, 'data'),
            _row(HEADS, head or 'upernet', 'head'),
        )
    if data not in TASKS:
        _row({**DATA, **TASKS}, data, 'data')
    if head is not None:
        raise UserError(f'--head {head} is for segmentation, {data} has no masks.')
    methods = zoo_configs(data)
    path = next(iter(_row(methods, ALIASES.get(method, method), 'method').values()))
    return exchanged(Recipe((path,), {}), backbone)


def _segmentation(
    method: Method, backbone: str | None, data: Data, head: Head
) -> Recipe:
    bases = (
        PARTS / f'models/{head.base}.py',
        PARTS / f'datasets/{data.base}.py',
        PARTS / f'schedules/{head.schedule}.py',
        PARTS / f'{method.runtime}.py',
    )
    recipe = Recipe(bases, deepcopy(dict(method.settings)))
    config = recipe.config()
    tuned = deepcopy(dict(method.backbone))
    if tuned.get('prompt') == _GUIDED:
        tuned['prompt']['num_classes'] = data.num_classes
    if tuned:
        recipe = recipe.updated(dict(model=dict(backbone=tuned)))
    if config.model.decode_head.num_classes != data.num_classes:
        model = classes_of_heads(config, data.num_classes)
        recipe = recipe.updated(dict(model=model))
    return exchanged(recipe, backbone)


def exchanged(recipe: Recipe, backbone: str | None, known: str = '') -> Recipe:
    """Return a recipe with another backbone.

    Args:
        recipe: The recipe.
        backbone: Its name; None for that of the recipe.
        known: What else could have been given, for the message.
    """
    if backbone is None:
        return recipe
    config = recipe.config()
    found = find_backbone(backbone, known or 'unknown')
    other = other_backbone(config, found)
    settings = merged(merged(other, recipe.settings), other)  # the backbone first
    recipe = recipe._replace(settings=settings)
    return recipe.updated(without_cls(recipe.config()))


def classes_of_heads(inherited: Config, num_classes: int) -> dict[str, Any]:
    """Return the settings of heads for segmentation with another number of classes.

    Args:
        inherited: The config.
        num_classes: Their classes (K).
    """
    model: dict[str, Any] = dict(decode_head=dict(num_classes=num_classes))
    loss = inherited.model.decode_head.get('loss_cls')
    if loss is not None:  # Mask2Former, whose last class is nothing
        weights = [1.0] * num_classes + [0.1]
        model['decode_head']['loss_cls'] = dict(class_weight=weights)
    auxiliary = inherited.model.get('auxiliary_head')
    if isinstance(auxiliary, list):
        heads = [dict(head.to_dict(), num_classes=num_classes) for head in auxiliary]
        model['auxiliary_head'] = heads
    elif auxiliary is not None:
        model['auxiliary_head'] = dict(num_classes=num_classes)
    return model


def relative(path: Path) -> str:
    """Return a path as configs name it: relative below the working directory."""
    path = Path(os.path.abspath(path.expanduser()))
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()


def base_names(recipe: Recipe, out: Path) -> list[str]:
    """Return how a config at ``out`` names its bases, relative inside of the tree."""
    folder = Path(os.path.abspath(out)).parent
    if ROOT not in (folder, *folder.parents):
        return [base.as_posix() for base in recipe.bases]
    return [Path(os.path.relpath(base, folder)).as_posix() for base in recipe.bases]


def file_of(method: str, backbone: str, data: str, head: str | None = None) -> str:
    """Return the path below configs that a cell has by default."""
    folder = (
        METHODS[method].folder if (method, backbone, head, data) in SHIPPED else 'own'
    )
    between = f'{head or "upernet"}-' if data in DATA else ''
    return f'{folder}/{method}_{between}{backbone}_{data}.py'


def text(
    method: str,
    backbone: str,
    data: str,
    head: str | None = None,
    out: Path | None = None,
) -> str:
    """Return the config of a cell.

    Args:
        method: As in :func:`compose`, the others too.
        backbone: Its backbone.
        data: Its data.
        head: Its head.
        out: Where it will be; :func:`file_of` by default.
    """
    recipe = compose(method, backbone, data, head)
    out = out or CONFIGS / file_of(method, backbone, data, head)
    title = METHODS[method].title if method in METHODS else method
    words = ['--method', method, '--backbone', backbone, '--data', data]
    if data in DATA:
        head = head or 'upernet'
        words += ['--head', head]
        title = f'{title} on {DATA[data].title}, {HEADS[head].title}'
        origin, ranks = f'the recipe of {HEADS[head].schedule}', 8
    else:
        title = f'{title} on {TASKS[data].title}'
        origin, ranks = f'configs/{recipe.bases[0].relative_to(CONFIGS).as_posix()}', 1
    paragraphs = [
        f'{title}, {backbone}.',
        'Published: no figure of this method, backbone and data known to us.',
        f'Values are those of {origin}: choose lr and weight decay on val. '
        'docs/backbones.md says where weights come from.',
        f'Written by: python tools/zoo.py {shlex.join(words)}',
        f'Run: bash tools/dist_train.sh {relative(out)} {ranks}',
    ]
    return source.config(paragraphs, base_names(recipe, out), recipe.lines())


def shipped(folder: str) -> Iterator[tuple[str, str]]:
    """Yield path below the tree and text of the cells that a folder of configs has."""
    for method, backbone, head, data in SHIPPED:
        if METHODS[method].folder == folder:
            path = file_of(method, backbone, data, head)
            yield f'configs/{path}', text(method, backbone, data, head)


def _row(table: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in table:
        raise UserError(f'--{what} {name}: there are {", ".join(table)}.')
    return table[name]
