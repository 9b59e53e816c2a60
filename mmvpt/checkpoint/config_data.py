# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Configs as data: JSON that is rebuilt without running anything."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from inspect import isclass, isroutine
from pathlib import PurePath
from typing import Any

from mmengine.registry import Registry

from . import CheckpointError

# Marks of values that JSON has no form for.
_TUPLE = '$tuple'
_ITEMS = '$items'
_CODE = '$code'
_SCOPES = ('mmengine', 'mmvpt', 'mmpretrain', 'mmseg')
_MARKS = (_TUPLE, _ITEMS, _CODE)

#: What a release keeps of a config: what the model computes and how it was trained.
RELEASED_KEYS = (
    'default_scope',
    'model',
    'data_preprocessor',
    'tta_model',
    'tta_pipeline',
    'test_pipeline',
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'val_evaluator',
    'test_evaluator',
    'train_cfg',
    'val_cfg',
    'test_cfg',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'custom_hooks',
    'randomness',
)
_ABSOLUTE = re.compile(r'(/|~|[A-Za-z]:[\\/]).*[\\/]')


def dicts(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield every dict in a part of a config with its place."""
    if isinstance(value, Mapping):
        yield place, value
        for key, item in value.items():
            yield from dicts(item, f'{place}.{key}')
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from dicts(item, f'{place}[{i}]')


def to_data(value: Any) -> Any:
    """Turn a config into what JSON can hold; tuples and other keys are marked.

    Args:
        value: A config or a part of one. Classes and functions become their names;
            other objects a note of their type, which :func:`from_data` refuses.
    """
    if isinstance(value, Mapping):
        plain = all(isinstance(key, str) for key in value)
        if plain and not any(key in _MARKS for key in value):
            return {key: to_data(item) for key, item in value.items()}
        return {_ITEMS: [[to_data(k), to_data(v)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {_TUPLE: [to_data(item) for item in value]}
    if isinstance(value, list):
        return [to_data(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_CODE: str(value)}
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, 'item') and getattr(value, 'ndim', None) == 0:
        return to_data(value.item())
    if isclass(value) or isroutine(value):
        return type_name(value)
    return {_CODE: f'{type(value).__module__}.{type(value).__qualname__}'}


def type_name(value: Callable) -> str:
    """Return the text that names a class or function in a config.

    Returns:
        Its name in the registry that has it, with the scope in front unless that is the
        root's, or its dotted path.
    """
    registries = [
        registry
        for scope in _SCOPES
        for registry in vars(sys.modules.get(f'{scope}.registry', object)).values()
        if isinstance(registry, Registry)
    ]
    for registry in registries:  # the root's come first
        for name, found in registry.module_dict.items():
            if found is not value:
                continue
            if registry.scope != 'mmengine':
                return f'{registry.scope}.{name}'
            if all(r.module_dict.get(name, value) is value for r in registries):
                return name
    return f'{value.__module__}.{value.__qualname__}'


def from_data(value: Any) -> Any:
    """Turn what :func:`to_data` made back into dicts, lists, tuples and numbers."""
    if isinstance(value, list):
        return [from_data(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _CODE in value:
        if value[_CODE] in ('inf', '-inf', 'nan'):
            return float(value[_CODE])
        raise CheckpointError(
            f'the config in the checkpoint held {value[_CODE]}, which is no data. Name '
            'types as strings, or give the config: mmvpt.load(CONFIG, weights=FILE).'
        )
    if _TUPLE in value:
        return tuple(from_data(item) for item in value[_TUPLE])
    if _ITEMS in value:
        return {from_data(k): from_data(v) for k, v in value[_ITEMS]}
    return {key: from_data(item) for key, item in value.items()}


def without_paths(value: Any) -> Any:
    """Cut absolute paths in a config to their last part."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and _ABSOLUTE.match(value):
        return re.split(r'[\\/]', value.rstrip('\\/'))[-1]
    return value
