# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Reading a config file and changing it from the command line."""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Collection, Iterator
from pathlib import Path, PurePath
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.config.utils import ConfigParsingError

from mmvpt.errors import MissingFileError, UserError, refuse, similar

from .early_checks import initializer, mistakes, statement

_ABOUT_IMPORTS = (
    'An import beside _base_ is only for modules of the standard library; name types '
    "as text (type='torch.nn.LayerNorm') and the modules that register them in "
    'custom_imports, or write the whole config, its bases too, in the style of '
    '`with read_base():`.'
)
# Of mmengine's Config: what has the name of a user's file, not that of a copy.
_READERS = ('fromfile', '_is_lazy_import', '_file2dict', '_parse_lazy_import')
# Where a class may stand in a pure-Python config for its name.
_TYPE_KEYS = ('type', 'constructor', 'runner_type')
# What tools and mmengine's Runner.from_cfg read besides the arguments of Runner.
_OTHER_FIELDS = (
    'runner_type',
    'auto_scale_lr',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'tta_model',
    'tta_pipeline',
    'custom_imports',
    'compile',
)


class OptionAction(DictAction):
    """``--cfg-options`` whose malformed values end in a usage message."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Parse ``KEY=VALUE`` pairs; exit with status 2 if one is malformed."""
        for pair in values:
            key, equals, value = pair.partition('=')
            if not key or not equals:
                parser.error(f'{option_string}: expected KEY=VALUE, got {pair!r}')
            if value.lstrip().startswith('{'):
                parser.error(
                    f'{option_string}: {pair!r}: a dict is written key by key, such as '
                    f'{key}.type=...; to replace one, write a config with _delete_=True'
                )
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, ValueError) as error:
            parser.error(f'{option_string}: {error}')


def load_config(
    path: str | os.PathLike,
    options: dict | None = None,
    checked: Collection[str] = (),
) -> Config:
    """Read a config and merge ``--cfg-options`` into it.

    Args:
        path: A Python, json or yaml config.
        options: Changes, by dotted key.
        checked: Fields that the whole check will look into. What the source of mmvpt
            tells of their mistakes is told now, unless torch is imported already.

    Raises:
        UserError: If there is no such file, it is no config, or an option does not fit.
    """
    file = Path(path)
    if file.is_dir():
        raise UserError(f'config {path} is a folder; give a file in it.')
    if not file.is_file():
        near = sorted(p.name for p in file.parent.glob('*.py'))[:8]
        hint = f' {file.parent} holds {", ".join(near)}.' if near else ''
        raise MissingFileError(
            f'config {path} does not exist (working directory: {Path.cwd()}).{hint}'
        )
    if file.suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise UserError(f'config {path} must end in .py, .json, .yaml or .yml')
    try:
        config = named_config(Config.fromfile(path))
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever a Python file may raise
        raise UserError(f'config {path}: {_unreadable(error, str(path))}') from error
    if options:
        merge_options(config, options)
    if checked and 'torch' not in sys.modules:
        refuse(mistakes(config, checked))
    return config


def named_config(config: Config) -> Config:
    """Copy a config, with the names of classes in place of the classes.

    A pure-Python config (``with read_base():``, ``type=SomeClass``) becomes what a text
    config is, so that everything that reads configs reads both. Paths become strings.
    """
    content = _named(config._to_lazy_dict())
    return Config(
        content,
        cfg_text=config.text,
        filename=config.filename,
        env_variables=config.env_variables,
    )


def _named(value: Any, key: Any = None) -> Any:
    if isinstance(value, dict):
        return {k: _named(v, k) for k, v in dict.items(value)}
    if isinstance(value, (list, tuple)):
        return type(value)(_named(item, key) for item in value)
    if isinstance(value, (LazyObject, LazyAttr)):
        try:
            value = value.build()
        except ImportError as error:
            raise UserError(f'the config imports {value}: {error}') from error
    if isinstance(value, PurePath):
        return str(value)
    if key in _TYPE_KEYS and callable(value):
        from mmvpt.checkpoint.config_data import type_name

        return type_name(value)
    return value


def _unreadable(error: BaseException, path: str) -> str:
    """Say which file of a config cannot be read, where in it, and why."""
    file, line = path, getattr(error, 'lineno', None)
    for frame, number in traceback.walk_tb(error.__traceback__):
        reads = frame.f_locals.get('filename')
        if frame.f_code.co_name in _READERS and isinstance(reads, str):
            file = reads
        elif os.path.abspath(file) == frame.f_code.co_filename:
            line = number
    mark = getattr(error, 'problem_mark', None)  # of YAML
    if mark is not None:
        line = mark.line + 1
    if isinstance(error, FileNotFoundError):
        quoted = re.search('"(.+?)"', str(error))
        lacking = error.filename or (quoted[1] if quoted else error)
        return (
            f'{lacking} of its _base_ does not exist. Paths in _base_ are relative to '
            'the file they stand in.'
        )
    if isinstance(error, UnicodeDecodeError):
        line = Path(file).read_bytes()[: error.start].count(b'\n') + 1
        byte = error.object[error.start]
        reason = f'byte 0x{byte:02x} is not UTF-8 text. Save the file as UTF-8'
    elif isinstance(error, SyntaxError):
        reason = f'not valid Python: {error.msg}'
        if 'U+FEFF' in reason:
            reason = 'it begins with a byte order mark. Save it as UTF-8 without one'
    elif isinstance(error, RecursionError):
        reason = 'its _base_ leads back to itself'
    elif frame.f_code.co_name == '_get_cfg_path' and isinstance(error, TypeError):
        reason = '_base_ must be the path of a config as text, or a list of such'
    elif isinstance(error, AttributeError) and not file.endswith('.py'):
        reason = 'it must hold fields of a config and their values, such as model'
    elif type(error) is RuntimeError and not str(error):  # of LazyObject
        reason = f'it calls what it imports. {_ABOUT_IMPORTS}'
    elif isinstance(error, ModuleNotFoundError):
        reason = f'import of {error.name}: there is no such module. {_ABOUT_IMPORTS}'
    elif 'lazy_import' in str(error) or isinstance(error, ConfigParsingError):
        reason = f'{error} {_ABOUT_IMPORTS}'
    else:
        text = getattr(error, 'problem', None) or (error.args or [error])[0]
        reason = f'{type(error).__name__}: {text}'
    return f'{file}{f", line {line}" if line else ""}: {reason}'


def merge_options(config: Config, options: dict[str, Any]) -> None:
    """Merge ``--cfg-options`` into a config."""
    _, taken = initializer(statement('mmengine.runner.runner:Runner'))
    known = {*taken, *_OTHER_FIELDS} - {'cfg'}  # that is the config itself
    for key in options:
        field = key.split('.')[0]
        own = (config.get('model') or {}).get(field)
        if field == 'data_preprocessor' and own:
            raise UserError(
                f'--cfg-options {key}: the model has a {field} of its own, which is '
                f'the one that counts. Set model.{key}.'
            )
        if field in known:
            continue
        if field not in config:
            raise UserError(
                f'--cfg-options {key}: the config has no {field!r} and nobody would '
                f'read it.{similar(field, {*known, *config})}'
            )
        places = [
            place
            for top in known & set(config)
            for place in _places(config[top], top, field, config[field])
        ]
        raise UserError(
            f'--cfg-options {key}: {field} is a variable of the config file, which was '
            'read with the file; a change of it now would change nothing. Set what it '
            f'went into: {", ".join(sorted(places)) or "see the config"}.'
        )
    try:
        config.merge_from_dict(options)
    except (KeyError, TypeError, AssertionError, AttributeError) as error:
        reason = error.args[0] if error.args else type(error).__name__
        raise UserError(
            f'--cfg-options {" ".join(options)}: does not fit the config: {reason}'
        ) from error


def _places(value: Any, place: str, name: str, held: Any) -> Iterator[str]:
    """Yield the places that a variable seems to have gone into."""
    if place.rpartition('.')[2] == name or (value == held and not _is_trivial(held)):
        yield place
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, f'{place}.{key}', name, held)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _places(item, f'{place}.{i}', name, held)


def _is_trivial(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float)) or not value
