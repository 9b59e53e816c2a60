# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Suites: which tasks, and the config of each method and backbone for them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from tools.recipes import baselines, davpt, gatedvpt, vapt, vpt
from tools.recipes.tables import TASKS, file_name

from .space import Space, read_space

ROOT = Path(__file__).resolve().parents[2]
FILES = 'configs/_base_/suites'
_FOLDERS = {
    name: module.FOLDER
    for module in (vpt, gatedvpt, vapt, davpt, baselines)
    for name in module.METHODS
}
_GROUPS = ('natural', 'specialized', 'structured')
#: Suites of the zoo: name -> groups of their tasks.
ZOO = {
    'fgvc': ('fgvc',),
    'vtab': _GROUPS,
    **{f'vtab-{group}': (group,) for group in _GROUPS},
}
#: How backbones may be written besides the part in the names of configs.
_PREFIXES = ('vit-base-p16_', 'vit-b-p16_', 'vit-b_', 'vit-base_')
#: A backbone without configs of its own for a method: those of which one, and what
#: then differs.
_STAND_INS = {
    'in21k': (
        'augreg-in21k',
        {'model.backbone.init_cfg.checkpoint': 'mmvpt://vit-base-p16_in21k'},
    )
}


@dataclass(frozen=True)
class Cell:
    """One method on one task with one backbone."""

    suite: str
    task: str
    group: str
    method: str
    backbone: str
    config: str
    options: Mapping[str, Any] = field(default_factory=dict)
    space: Space | None = None
    metric: str | None = None  # None: by the evaluator
    folder: str | None = None  # of its runs, in the session's; None: runs/...

    @property
    def name(self) -> str:
        """What files of the cell are called."""
        parts = [part for part in (self.method, self.backbone) if part]
        return re.sub(r'[^\w.+-]+', '-', '_'.join(parts))

    def seeded(self, seed: int) -> dict[str, Any]:
        """Return the options with ``{seed}`` filled in."""
        return json.loads(json.dumps(dict(self.options)).replace('{seed}', str(seed)))


@dataclass(frozen=True)
class Suite:
    """Tasks and methods."""

    name: str
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]  # by method and task
    protocol: str = 'vpt'
    seeds: tuple[int, ...] | None = None
    source: str | None = None  # its file


def names() -> list[str]:
    """Return the names of all suites."""
    files = sorted(path.stem for path in (ROOT / FILES).glob('*.py'))
    return [*ZOO, 'ade20k', *files]


def load_suite(
    name: str,
    methods: Sequence[str],
    backbone: str | None,
    tasks: Sequence[str] | None = None,
    space: str | None = None,
) -> Suite:
    """Return the cells of a suite.

    Args:
        name: A name, or the path of a suite file.
        methods: Names of methods, or 'all'.
        backbone: The backbone; suite files have one of their own.
        tasks: Only these tasks.
        space: A space file for all methods, in place of those of the suite.

    Raises:
        ValueError: If suite, method, backbone or task is unknown, with what there is.
        FileNotFoundError: If the file does not exist.
    """
    if name in ZOO or name == 'ade20k':
        suite = _zoo_suite(name, methods, backbone)
    else:
        suite = _file_suite(name, methods, backbone)
    if tasks:
        _known('task', tasks, suite.tasks)
    kept = tuple(task for task in suite.tasks if not tasks or task in tasks)
    given = read_space(space) if space else None
    cells = {
        key: Cell(**{**vars(cell), 'space': given or cell.space})
        for key, cell in suite.cells.items()
        if key[1] in kept
    }
    return Suite(**{**vars(suite), 'tasks': kept, 'cells': cells})


def _known(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f' Did you mean {close[0]!r}?' if close else ''
            raise ValueError(
                f'unknown {what} {name!r}; there are {", ".join(known)}.{hint}'
            )


def _zoo_suite(name: str, methods: Sequence[str], backbone: str | None) -> Suite:
    if backbone is None:
        raise ValueError(f'suite {name!r} needs --backbone, such as vit-b_in21k')
    if name == 'ade20k':
        return _segmentation_suite(name, methods, backbone)
    methods = list(_FOLDERS) if list(methods) == ['all'] else list(methods)
    _known('method', methods, list(_FOLDERS))
    plain = backbone
    for prefix in _PREFIXES:
        plain = plain.removeprefix(prefix)
    tasks = [task for task in TASKS.values() if task.group in ZOO[name]]
    cells = {}
    for method in methods:
        for task in tasks:
            path, options = _zoo_config(method, plain, task)
            cells[method, task.name] = Cell(
                name.split('-')[0], task.name, task.group, method, plain, path, options
            )
    return Suite(name, tuple(task.name for task in tasks), tuple(methods), cells)


def _zoo_config(method: str, backbone: str, task: Any) -> tuple[str, dict[str, Any]]:
    stand_in, changes = _STAND_INS.get(backbone, (None, {}))
    for part, options in ((backbone, {}), (stand_in, changes)):
        if part is not None:
            path = f'configs/{_FOLDERS[method]}/{file_name(method, part, task)}.py'
            if (ROOT / path).exists():
                return path, dict(options)
    pattern = f'{method}_vit-base-p16_*_{task.name}.py'
    found = sorted((ROOT / 'configs' / _FOLDERS[method]).glob(pattern))
    have = [path.name.split('_')[2] for path in found]
    raise ValueError(
        f'{method} has no config for backbone {backbone!r} on {task.name}; it has '
        f'{", ".join(have) or "none"}'
    )


def _segmentation_suite(name: str, methods: Sequence[str], backbone: str) -> Suite:
    """Find configs METHOD_BACKBONE_NAME.py; the backbone may be a part of its name."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted((ROOT / 'configs').glob(f'*/*_*_{name}.py')):
        method, backbone_of, _ = path.stem.split('_')
        config = path.relative_to(ROOT).as_posix()
        found.setdefault(method, {})[backbone_of] = config
    methods = list(found) if list(methods) == ['all'] else list(methods)
    _known('method', methods, list(found))
    cells = {}
    for method in methods:
        have = found[method]
        exact = [b for b in have if b == backbone]
        fitting = exact or [b for b in have if backbone in b]
        if len(fitting) != 1:
            raise ValueError(
                f'{len(fitting)} configs of {method} on {name} fit backbone '
                f'{backbone!r}; it has {", ".join(have)}'
            )
        cells[method, name] = Cell(
            name, name, 'segmentation', method, fitting[0], have[fitting[0]]
        )
    return Suite(name, (name,), tuple(methods), cells)


def _file_suite(name: str, methods: Sequence[str], backbone: str | None) -> Suite:
    path = Path(name) if name.endswith('.py') else ROOT / FILES / f'{name}.py'
    if not path.is_file():
        if name.endswith('.py'):
            raise FileNotFoundError(f'suite file {name} does not exist')
        _known('suite', [name], names())
    config = Config.fromfile(str(path)).to_dict()
    if not config.get('methods') or not config.get('tasks'):
        raise ValueError(f'{path} is no suite: it needs methods and tasks')
    known = list(config['methods'])
    chosen = known if list(methods) == ['all'] else list(methods)
    _known('method', chosen, known)
    tasks = config['tasks']
    stated = config.get('backbone', '')
    if backbone not in (None, stated):
        raise ValueError(f'{path} has backbone {stated!r}, not {backbone!r}')
    cells = {}
    for method in chosen:
        entry = config['methods'][method]
        for task, about in tasks.items():
            options = {
                **config.get('options', {}),
                **about.get('options', {}),
                **entry.get('options', {}),
            }
            space = entry.get('space')
            cells[method, task] = Cell(
                config.get('name', path.stem),
                task,
                about.get('group', ''),
                method,
                stated,
                entry['config'].replace('{task}', task),
                json.loads(json.dumps(options).replace('{task}', task)),
                Space(space, entry.get('start')) if space else None,
                config.get('metric'),
                entry.get('folder'),
            )
    return Suite(
        config.get('name', path.stem),
        tuple(tasks),
        tuple(chosen),
        cells,
        config.get('protocol', 'own'),
        tuple(config['seeds']) if config.get('seeds') else None,
        str(path),
    )
