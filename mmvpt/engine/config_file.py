# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Reading a config file and changing it from the command line."""

from __future__ import annotations

import argparse
import inspect
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from mmvpt.errors import MissingFileError, UserError

from .checks import similar

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


def load_config(path: str | os.PathLike, options: dict | None = None) -> Config:
    """Read a config and merge ``--cfg-options`` into it.

    Args:
        path: A Python, json or yaml config.
        options: Changes, by dotted key.

    Returns:
        The config.

    Raises:
        UserError: If there is no such file, it is no config, or an option does not fit.
    """
    file = Path(path)
    if not file.is_file():
        near = sorted(p.name for p in file.parent.glob('*.py'))[:8]
        hint = f' {file.parent} holds {", ".join(near)}.' if near else ''
        raise MissingFileError(
            f'config {path} does not exist (working directory: {Path.cwd()}).{hint}'
        )
    if file.suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise UserError(f'config {path} must end in .py, .json, .yaml or .yml')
    try:
        config = Config.fromfile(path)
    except SyntaxError as error:
        raise UserError(
            f'config {path} or a file of its _base_ is not valid Python: {error}'
        ) from error
    except FileNotFoundError as error:
        raise MissingFileError(
            f'config {path}: {error.filename} of its _base_ does not exist. Paths in '
            '_base_ are relative to the file they stand in.'
        ) from error
    if options:
        merge_options(config, options)
    return config


def merge_options(config: Config, options: dict[str, Any]) -> None:
    """Merge ``--cfg-options`` into a config.

    Args:
        config: Changed in place.
        options: Changes, by dotted key.

    Raises:
        UserError: If nobody reads a key, or the config has no such place.
    """
    known = {*config, *inspect.signature(Runner.__init__).parameters, *_OTHER_FIELDS}
    known -= {'self', 'cfg'}  # Runner's cfg is the config itself
    for key in options:
        field = key.split('.')[0]
        if field not in known:
            raise UserError(
                f'--cfg-options {key}: the config has no {field!r} and nobody would '
                f'read it.{similar(field, known)}'
            )
    try:
        config.merge_from_dict(options)
    except (KeyError, TypeError, AssertionError, AttributeError) as error:
        reason = error.args[0] if error.args else type(error).__name__
        raise UserError(
            f'--cfg-options {" ".join(options)}: does not fit the config: {reason}'
        ) from error
