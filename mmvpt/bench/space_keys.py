# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Whether a config has what a space changes."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import OPTIMIZERS, DefaultScope, Registry

from mmvpt import registry as ours
from mmvpt.errors import UserError

from . import LeakError

_REGISTRIES = [r for r in (*vars(ours).values(), OPTIMIZERS) if isinstance(r, Registry)]


def check_keys(config: Config, keys: Iterable[str]) -> None:
    """Check that something reads every key of a space.

    A key fits if the config has it, or if its place exists and the class there (its
    ``type``) takes an argument of that name, or if the space itself makes the place, by
    setting its ``type``.

    Raises:
        UserError: If a key does not fit, with what is there instead, or changes the
            test.
    """
    scope = config.get('default_scope') or 'mmengine'
    keys = set(keys)
    refuse_test_keys(keys)
    made = {key.rpartition('.')[0] for key in keys if key.endswith('.type')}
    with DefaultScope.overwrite_default_scope(scope):
        for key in sorted(keys):
            if key.rpartition('.')[0] not in made:
                _check(config, key)


def refuse_test_keys(keys: Iterable[str]) -> None:
    """Refuse settings that change what is tested, or how.

    Raises:
        LeakError: If there is one, since the guard compares with the test images of
            the config, and figures of different tests compare nothing.
    """
    for key in sorted(keys):
        if key.startswith(('test_', 'tta_')):
            raise LeakError(
                f'space key {key!r} changes the test, which settings may not. State it '
                'in the config, or in the options of the suite.'
            )


def _check(config: Config, key: str) -> None:
    here: Any = config._cfg_dict
    parts = key.split('.')
    for i, part in enumerate(parts):
        place = '.'.join(parts[:i]) or 'the config'
        if isinstance(here, (list, tuple)):
            if not part.isdigit() or int(part) >= len(here):
                raise UserError(
                    f'space key {key!r}: {place} is a list of {len(here)}, {part!r} is '
                    'no number of an item'
                )
            here = here[int(part)]
            continue
        if not isinstance(here, Mapping):
            raise UserError(f'space key {key!r}: {place} is {here!r}, not a dict')
        if part in here:
            here = here[part]
            continue
        allowed = [*here, *(_arguments(here) if i == len(parts) - 1 else ())]
        if part in allowed and part not in here:
            return
        close = difflib.get_close_matches(part, allowed, n=1)
        hint = f'did you mean {close[0]!r}? ' if close else ''
        raise UserError(
            f'space key {key!r}: {place} has no {part!r}; {hint}it has '
            f'{", ".join(sorted(set(map(str, allowed))))}'
        )


def _arguments(config: Mapping) -> set[str]:
    """Return the arguments that the class of a config takes."""
    cls = _class(config.get('type'))
    names: set[str] = set()
    for item in getattr(cls, '__mro__', ()):
        init = vars(item).get('__init__')
        if init is None or item is object:
            continue
        parameters = inspect.signature(init).parameters.values()
        names |= {
            p.name
            for p in parameters
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != 'self'
        }
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names


def _class(name: Any) -> Any:
    if not isinstance(name, str):
        return name
    for registry in _REGISTRIES:
        found = registry.get(name)
        if found is not None:
            return found
    return getattr(torch.optim, name, None)
