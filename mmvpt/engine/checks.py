# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Words for mistakes in configs that mmengine reports as bare errors of Python."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
import traceback
from collections.abc import Iterable
from types import FrameType
from typing import Any

from mmengine.registry import DefaultScope, Registry
from mmengine.runner import runner as runner_module

_UNEXPECTED = re.compile(r"got an unexpected keyword argument '(\w+)'")
_MISSING = re.compile(r'missing \d+ required [\w-]+ arguments?: (.+)')
_TYPE_MISSING = 'must contain the key "type"'
# Functions of mmengine that build an object, and their variable with its arguments.
_BUILDERS = dict(
    build_from_cfg='args',
    build_dataloader='dataloader_cfg',
    build_train_loop='loop_cfg',
    build_val_loop='loop_cfg',
    build_test_loop='loop_cfg',
)


def explain_config_mistake(error: BaseException) -> str | None:
    """Word a misspelt key or type of a config; None for everything else.

    A key counts as the config's if it was among the arguments that a registry, or the
    runner for its data loaders, was about to build an object with; an error of the
    same kind inside of code is a bug and not explained.

    Args:
        error: The error.
    """
    message = str(error.args[0]) if error.args else ''
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    builds = [
        frame
        for frame in frames
        if frame.f_code.co_name in _BUILDERS and 'mmengine' in frame.f_code.co_filename
    ]
    if not builds:
        return None
    build = builds[-1]
    if isinstance(error, TypeError):
        return _explain_arguments(message, build, direct=build is frames[-1])
    if isinstance(error, KeyError) and build is frames[-1]:
        return _explain_type(message, build)
    return None


def _explain_arguments(message: str, build: FrameType, direct: bool) -> str | None:
    scope = build.f_locals
    cls = scope.get('obj_cls')
    if build.f_code.co_name != 'build_from_cfg':  # the runner calls these itself
        named = re.match(r'(\w+)', message)
        cls = getattr(runner_module, named[1], None) if named else None
    if cls is None:
        return None
    name = getattr(cls, '__name__', str(cls))
    given = scope.get(_BUILDERS[build.f_code.co_name]) or {}
    unexpected = _UNEXPECTED.search(message)
    if unexpected and unexpected[1] in given:
        key = unexpected[1]
        filled = scope.get('default_args') or {}
        options = [option for option in _options(cls) if option not in filled]
        hint = similar(key, options) or f' Options: {", ".join(options)}.'
        return (
            f'{name} has no option {key!r} (value {given[key]!r} in the config).{hint}'
        )
    missing = _MISSING.search(message)
    if missing and direct:
        return f'{name} needs {missing[1]}, which the config does not give.'
    return None


def _explain_type(message: str, build: FrameType) -> str | None:
    scope = build.f_locals
    registry = scope.get('registry')
    if _TYPE_MISSING in message:
        keys = ', '.join(key for key in scope['cfg'] if key != '_scope_')
        return (
            f'a config of {registry.name if registry else "an object"} has no key '
            f"'type'; it has {keys or 'no keys'}."
        )
    if not isinstance(registry, Registry) or 'is not in the' not in message:
        return None
    name, known = str(scope['obj_type']), _names(registry)
    prefix, _, short = name.rpartition('.')
    child = _root(registry).children.get(prefix)
    if child:
        known = {f'{prefix}.{key}' for key in _names(child)}
    hint = similar(name if child else short, known)
    if registry.scope == 'mmengine':
        hint = _about_scope(hint)
    elif not hint and len(known) <= 20:
        hint = f' Known types: {", ".join(sorted(known))}.'
    elif not hint:
        hint = (
            ' Correct it, or add the module that registers it to custom_imports; types '
            "of mmvpt carry the prefix 'mmvpt.'."
        )
    return f'{name!r} is no known {registry.name}.{hint}'


def _about_scope(hint: str) -> str:
    """Say why mmengine's own registry was asked."""
    current = DefaultScope.get_current_instance()
    scope = 'mmengine' if current is None else current.scope_name
    if scope == 'mmengine':
        return (
            f"{hint} The config sets no default_scope: add default_scope='mmpretrain' "
            "or 'mmseg'."
        )
    if scope in sys.modules:
        return hint  # a kind of thing that the project has no registry of its own for
    return (
        f' The config has default_scope={scope!r}, but {scope} is not installed or '
        'cannot be imported: see docs/install.md.'
    )


def _root(registry: Registry) -> Registry:
    return _root(registry.parent) if registry.parent else registry


def _names(registry: Registry) -> set[str]:
    """Names that a registry and its parents know."""
    names = set(registry.module_dict)
    return names | (_names(registry.parent) if registry.parent else set())


def _options(cls: Any) -> list[str]:
    """Names of arguments that a class takes, with those of its bases behind ``**``."""
    options: list[str] = []
    chain = cls.__mro__ if inspect.isclass(cls) else [cls]
    for item in chain:
        function = vars(item).get('__init__') if inspect.isclass(item) else item
        if function is None:
            continue
        parameters = list(inspect.signature(function).parameters.values())
        options += [
            p.name
            for p in parameters
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != 'self'
        ]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return list(dict.fromkeys(options))


def similar(name: str, known: Iterable[str]) -> str:
    """Word what was meant by a misspelt name; empty if nothing is near.

    Args:
        name: What was given.
        known: What there is.
    """
    close = difflib.get_close_matches(name, sorted(known), n=2)
    return f' Did you mean {" or ".join(map(repr, close))}?' if close else ''
