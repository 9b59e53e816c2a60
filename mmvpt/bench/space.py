# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Search spaces: what may vary, and the points in them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmvpt.engine.checks import options_of
from mmvpt.errors import MissingFileError, UserError, similar

from .guard import LeakError

Point = tuple[float, ...]  # index of a value, or a number, for each dimension


@dataclass(frozen=True)
class Dimension:
    """One thing that varies: a list of values, or a range."""

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def is_list(self) -> bool:
        """Whether the values are listed."""
        return bool(self.values)

    def overrides(self, coordinate: float) -> dict[str, Any]:
        """Return what a coordinate changes in the config."""
        if not self.is_list:
            return {self.name: coordinate}
        value = self.values[int(coordinate)]
        return dict(value) if isinstance(value, Mapping) else {self.name: value}

    def keys(self) -> set[str]:
        """Return the keys of the config that it may change."""
        coordinates = range(len(self.values)) if self.is_list else [self.low]
        return {key for c in coordinates for key in self.overrides(c)}


class Space:
    """The dimensions of a search, in order.

    A space is written as a dict. A list gives values from small to large::

        {'optim_wrapper.optimizer.lr': [0.01, 0.1, 1.0]}

    where a value that is a dict changes several keys at once, and the name is then only
    a name; ``dict(low=1e-3, high=1.0, log=True)`` gives a range, which grids and the
    coordinate mode cannot search.

    Args:
        definition: The dict.
        start: Where the coordinate mode starts and what the model-based modes try
            first, ``{name: value}``; the middle of each list by default.

    Raises:
        UserError: If a dimension is empty, malformed, or the start is not in it.
    """

    def __init__(
        self, definition: Mapping[str, Any], start: Mapping[str, Any] | None = None
    ) -> None:
        self.dimensions = [_dimension(name, d) for name, d in definition.items()]
        unknown = set(start or {}) - {d.name for d in self.dimensions}
        if unknown:
            raise UserError(
                f'start names {sorted(unknown)}, but the space has '
                f'{[d.name for d in self.dimensions]}'
            )
        self.start: Point = tuple(
            _locate(d, start[d.name]) if start and d.name in start else _middle(d)
            for d in self.dimensions
        )

    @property
    def is_finite(self) -> bool:
        """Whether every dimension is a list."""
        return all(d.is_list for d in self.dimensions)

    @property
    def size(self) -> float:
        """Number of points, infinite with ranges."""
        if not self.is_finite:
            return math.inf
        return math.prod(len(d.values) for d in self.dimensions)

    def points(self) -> Iterator[Point]:
        """Yield all points, the last dimension fastest.

        Raises:
            UserError: If there is a range.
        """
        if not self.is_finite:
            ranges = [d.name for d in self.dimensions if not d.is_list]
            raise UserError(
                f'a grid needs lists of values, but {", ".join(ranges)} is a range. '
                'List values, or search with tpe or asha.'
            )
        yield from itertools.product(*(range(len(d.values)) for d in self.dimensions))

    def overrides(self, point: Point) -> dict[str, Any]:
        """Return what a point changes in the config."""
        changes: dict[str, Any] = {}
        for dimension, coordinate in zip(self.dimensions, point):
            changes.update(dimension.overrides(coordinate))
        return changes

    def describe(self) -> dict[str, Any]:
        """Return the space as JSON can hold it."""
        described = {}
        for d in self.dimensions:
            bounds = dict(low=d.low, high=d.high, log=d.log)
            described[d.name] = list(d.values) if d.is_list else bounds
        return json.loads(json.dumps(described))


def _dimension(name: str, definition: Any) -> Dimension:
    if isinstance(definition, Mapping):
        if set(definition) - {'low', 'high', 'log'} or 'low' not in definition:
            raise UserError(
                f'{name}: a range is dict(low=..., high=..., log=False), got '
                f'{dict(definition)}'
            )
        low, high = float(definition['low']), float(definition['high'])
        log = bool(definition.get('log', False))
        if not low < high or (log and low <= 0):
            raise UserError(f'{name}: {low} to {high} (log={log}) is no range')
        return Dimension(name, low=low, high=high, log=log)
    if isinstance(definition, str) or not isinstance(definition, Sequence):
        raise UserError(
            f'{name}: expected a list of values or a range, got {definition!r}'
        )
    if not definition:
        raise UserError(f'{name}: the list of values is empty')
    return Dimension(name, values=tuple(definition))


def _middle(dimension: Dimension) -> float:
    if dimension.is_list:
        return len(dimension.values) // 2
    if dimension.log:
        return math.sqrt(dimension.low * dimension.high)
    return (dimension.low + dimension.high) / 2


def _locate(dimension: Dimension, value: Any) -> float:
    if not dimension.is_list:
        if not dimension.low <= value <= dimension.high:
            raise UserError(f'start: {dimension.name}={value} is outside of its range')
        return float(value)
    if value not in dimension.values:
        raise UserError(
            f'start: {dimension.name}={value!r} is none of {list(dimension.values)}'
        )
    return dimension.values.index(value)


def read_space(path: str | Path) -> Space:
    """Read a space file: a Python file with ``space`` and perhaps ``start``.

    Raises:
        UserError: If there is none, it has no ``space``, or the space is malformed.
    """
    if not Path(path).is_file():
        raise MissingFileError(f'space file {path} does not exist')
    config = Config.fromfile(str(path)).to_dict()
    if not config.get('space'):
        raise UserError(f'{path} has no space = {{...}}')
    try:
        return Space(config['space'], config.get('start'))
    except UserError as error:
        raise UserError(f'{path}: {error}') from error


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
                _check_key(config, key)


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


def _check_key(config: Config, key: str) -> None:
    here: Any = config._cfg_dict
    *parts, last = key.split('.')
    for i, part in enumerate([*parts, last]):
        place = '.'.join(parts[:i]) or 'the config'
        if isinstance(here, (list, tuple)):
            if not part.isdigit() or int(part) >= len(here):
                raise UserError(
                    f'space key {key!r}: {place} is a list of {len(here)}, {part!r} is '
                    'no number of an item'
                )
            here = here[int(part)]
        elif not isinstance(here, Mapping):
            raise UserError(f'space key {key!r}: {place} is {here!r}, not a dict')
        elif part in here:
            here = here[part]
        else:
            known = {*here, *(options_of(here) if i == len(parts) else ())}
            if part in known:
                return
            raise UserError(
                f'space key {key!r}: {place} has no {part!r}.{similar(part, known)} It '
                f'has {", ".join(sorted(known))}'
            )
