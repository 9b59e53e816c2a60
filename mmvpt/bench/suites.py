# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Suites: which tasks, and the config of each method and backbone for them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmvpt.engine.run import load_config
from mmvpt.errors import MissingFileError, UserError, require_known
from mmvpt.files import ROOT
from mmvpt.zoo.backbones import find_backbone, other_backbone, without_cls
from mmvpt.zoo.methods import PAPERS
from mmvpt.zoo.shipped import NAMES
from mmvpt.zoo.tables import TASKS, Task, file_name

from . import PROTOCOLS, Protocol
from .console import say
from .space import Space, read_space

FILES = 'configs/suites'
_FOLDERS = {
    name: folder
    for folder in ('vpt', 'gatedvpt', 'vapt', 'davpt', 'baselines')
    for name in PAPERS[folder].methods
}
_GROUPS = ('natural', 'specialized', 'structured')
#: Suites of the zoo: name -> groups of their tasks.
ZOO = {
    'fgvc': ('fgvc',),
    'vtab': _GROUPS,
    **{f'vtab-{group}': (group,) for group in _GROUPS},
}
#: Suites of one data set for segmentation, by the last part of the names of configs.
SEGMENTATION = ('ade20k', 'pascal-context')
SPACES = 'configs/search'
#: What is searched for a method of the zoo, unless --space is given.
ZOO_SPACES = {
    name: space for paper in PAPERS.values() for name, space in paper.spaces.items()
}
#: Methods of the zoo that are always searched, and how.
ZOO_STRATEGIES = {'linear-converged': 'grid'}
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
    folder: str | None = None  # of its runs, in the command's; None: runs/...
    #: Of a search without which it cannot run; None: the command's, if it searches.
    strategy: str | None = None

    @property
    def name(self) -> str:
        """What files of the cell are called."""
        parts = [part for part in (self.method, self.backbone) if part]
        return re.sub(r'[^\w.+-]+', '-', '_'.join(parts))

    @property
    def label(self) -> str:
        """What lines about the cell begin with."""
        return f'{self.task}, {self.method}'

    def is_searched(self, asked: bool, protocol: Protocol) -> bool:
        """Return whether its settings are searched.

        Raises:
            UserError: If it cannot do without a search, and the protocol has none.
        """
        if self.strategy is not None and not protocol.searches:
            searching = [p.name for p in PROTOCOLS.values() if p.searches]
            raise UserError(
                f'{self.method} chooses its settings by a search on the validation '
                f'split, but protocol {protocol.name!r} searches nothing. Leave the '
                f'method out, or use one of {", ".join(searching)}.'
            )
        return self.space is not None and (asked or self.strategy is not None)

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


def names() -> list[str]:
    """Return the names of all suites."""
    files = sorted(path.stem for path in (ROOT / FILES).glob('*.py'))
    return [*ZOO, *SEGMENTATION, *files]


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
        methods: Names of methods, or 'all': those with configs for the backbone; what
            is left out is printed.
        backbone: The backbone; suite files have one of their own, and take any other
            that :func:`mmvpt.zoo.backbones.find_backbone` knows, in all their configs.
        tasks: Only these tasks.
        space: A space file for all methods in place of theirs, but for those that
            are always searched.

    Raises:
        UserError: If suite, method, backbone or task is unknown, with what there is.
    """
    if name in ZOO or name in SEGMENTATION:
        suite = _zoo_suite(name, methods, backbone)
    else:
        suite = _file_suite(name, methods, backbone)
    if tasks:
        require_known('task', tasks, suite.tasks)
    kept = tuple(task for task in suite.tasks if not tasks or task in tasks)
    cells = {key: cell for key, cell in suite.cells.items() if key[1] in kept}
    if space:
        cells = _with_space(cells, space)
    return replace(suite, tasks=kept, cells=cells)


def _with_space(cells: Mapping[Any, Cell], path: str) -> dict[Any, Cell]:
    """Return the cells with another space."""
    if all(cell.strategy for cell in cells.values()):
        methods = sorted({cell.method for cell in cells.values()})
        raise UserError(
            f'--space {path} changes nothing: {", ".join(methods)} is searched in a '
            'space of its own. Leave out --space.'
        )
    space = read_space(path)
    return {
        key: cell if cell.strategy else replace(cell, space=space)
        for key, cell in cells.items()
    }


def _zoo_suite(name: str, methods: Sequence[str], backbone: str | None) -> Suite:
    if backbone is None:
        raise UserError(f'suite {name!r} needs --backbone, such as vit-b_in21k')
    if name in SEGMENTATION:
        return _segmentation_suite(name, methods, backbone)
    plain = backbone
    for prefix in _PREFIXES:
        plain = plain.removeprefix(prefix)
    tasks = [task for task in TASKS.values() if task.group in ZOO[name]]
    have = {m: all(_zoo_config(m, plain, task) for task in tasks) for m in _FOLDERS}
    methods = _chosen(methods, have, name, backbone)
    cells = {}
    for method in methods:
        varied = ZOO_SPACES.get(method)  # released files run as they are
        space = read_space(ROOT / SPACES / f'{varied}.py') if varied else None
        for task in tasks:
            found = _zoo_config(method, plain, task)
            if found is None:
                raise UserError(_no_config(method, plain, task))
            cells[method, task.name] = Cell(
                name.split('-')[0],
                task.name,
                task.group,
                method,
                plain,
                *found,
                space=space,
                strategy=ZOO_STRATEGIES.get(method),
            )
    return Suite(name, tuple(task.name for task in tasks), tuple(methods), cells)


def _chosen(
    methods: Sequence[str], have: Mapping[str, bool], suite: str, backbone: str
) -> list[str]:
    """Return methods; of 'all' those that have every config, and name the others."""
    if list(methods) != ['all']:
        require_known('method', methods, list(have))
        return list(methods)
    fitting = [method for method, fits in have.items() if fits]
    if not fitting:
        raise UserError(f'no method of {suite} has a config for backbone {backbone!r}')
    if len(fitting) < len(have):
        others = [method for method in have if method not in fitting]
        say(f'Left out, for want of a config for {backbone}: {", ".join(others)}')
    return fitting


def _zoo_config(
    method: str, backbone: str, task: Task
) -> tuple[str, dict[str, Any]] | None:
    """Return the config of a cell and its options, None if the zoo has none."""
    stand_in, changes = _STAND_INS.get(backbone, (None, {}))
    for part, options in ((backbone, {}), (stand_in, changes)):
        if part is not None:
            path = f'configs/{_FOLDERS[method]}/{file_name(method, part, task)}.py'
            if (ROOT / path).exists():
                return path, dict(options)
    return None


def _no_config(method: str, backbone: str, task: Task) -> str:
    pattern = f'{method}_vit-base-p16_*_{task.name}.py'
    found = sorted((ROOT / 'configs' / _FOLDERS[method]).glob(pattern))
    have = [path.name.split('_')[2] for path in found]
    return (
        f'{method} has no config for backbone {backbone!r} on {task.name}; it has '
        f'{", ".join(have) or "none"}'
    )


def _segmentation_suite(name: str, methods: Sequence[str], backbone: str) -> Suite:
    """Find configs METHOD_BACKBONE_NAME.py; the backbone may be a part of its name."""
    found: dict[str, dict[str, str]] = {}
    folders = [ROOT / 'configs' / folder for folder in sorted({*_FOLDERS.values()})]
    for path in (p for f in folders for p in sorted(f.glob(f'*{name}.py'))):
        method, backbone_of, _ = NAMES.get(path.stem, path.stem).split('_')
        config = path.relative_to(ROOT).as_posix()
        found.setdefault(method, {})[backbone_of] = config
    fitting = {
        method: [backbone] if backbone in own else [b for b in own if backbone in b]
        for method, own in found.items()
    }
    have = {method: bool(backbones) for method, backbones in fitting.items()}
    methods = _chosen(methods, have, name, backbone)
    cells = {}
    for method in methods:
        if len(fitting[method]) != 1:
            raise UserError(
                f'{len(fitting[method])} configs of {method} on {name} fit backbone '
                f'{backbone!r}; it has {", ".join(found[method])}'
            )
        (exact,) = fitting[method]
        config = found[method][exact]
        # One process has the batch that the recipe has on all GPUs. Accumulated
        # gradients would not do: norms would still see a few images, and mmengine
        # counts each small batch as an iteration of the schedule.
        scale = Config.fromfile(str(ROOT / config)).auto_scale_lr
        options = {'train_dataloader.batch_size': scale.base_batch_size}
        about = name, name, 'segmentation', method, exact, config
        cells[method, name] = Cell(*about, options)
    return Suite(name, (name,), tuple(methods), cells)


def _exchange(backbone: str, known: str) -> Callable[[str], dict[str, Any]]:
    """Return what says, of a config, which options give it another backbone.

    Args:
        backbone: As :func:`mmvpt.zoo.backbones.find_backbone` takes it.
        known: What the suite has, for messages.
    """
    found = find_backbone(backbone, known)
    if not found.get('init_cfg'):
        raise UserError(
            f'--backbone {backbone} names no weights, and random ones are no evidence. '
            'Give a file of weights, mmvpt://NAME or timm://NAME.'
        )

    def changes(file: str) -> dict[str, Any]:
        config = load_config(file)
        exchanged = other_backbone(config, found)
        size = exchanged['model']['backbone']['img_size']
        options = {**_flat(exchanged), **_pipeline_sizes(config, size)}
        config.merge_from_dict(options)
        return {**options, **_flat(without_cls(config))}

    return changes


def _flat(settings: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Return nested settings by dotted keys; one that replaces stays whole."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        nested = isinstance(value, Mapping) and value and '_delete_' not in value
        flat.update(
            _flat(value, f'{prefix}{key}.') if nested else {prefix + key: value}
        )
    return flat


def _pipeline_sizes(config: Config, size: int) -> dict[str, Any]:
    """Return the sizes of images in pipelines that follow the backbone's."""
    old = config.model.backbone.img_size
    if size == old:
        return {}
    found: dict[str, Any] = {}
    for split in ('train', 'val', 'test'):
        dataset = (config.get(f'{split}_dataloader') or {}).get('dataset') or {}
        for i, step in enumerate(dataset.get('pipeline') or ()):
            for key in ('scale', 'crop_size'):
                at = f'{split}_dataloader.dataset.pipeline.{i}.{key}'
                if step.get(key) == old:
                    found[at] = size
                elif step.get(key) in ((old, old), [old, old]):
                    found[at] = (size, size)
    return found


def _file_suite(name: str, methods: Sequence[str], backbone: str | None) -> Suite:
    path = Path(name) if name.endswith('.py') else ROOT / FILES / f'{name}.py'
    if not path.is_file():
        if name.endswith('.py'):
            raise MissingFileError(f'suite file {name} does not exist')
        require_known('suite', [name], names())
    config = Config.fromfile(str(path)).to_dict()
    if not config.get('methods') or not config.get('tasks'):
        raise UserError(f'{path} is no suite: it needs methods and tasks')
    known = list(config['methods'])
    chosen = known if list(methods) == ['all'] else list(methods)
    require_known('method', chosen, known)
    tasks = config['tasks']
    stated = config.get('backbone', '')
    changes = None
    if backbone is not None and backbone != stated:
        changes = _exchange(backbone, f'{path} has {stated!r}')
    cells = {}
    for method in chosen:
        entry = config['methods'][method]
        for task, about in tasks.items():
            file = entry['config'].replace('{task}', task)
            options = {
                **(changes(file) if changes else {}),
                **config.get('options', {}),
                **about.get('options', {}),
                **entry.get('options', {}),
            }
            space = entry.get('space')
            if entry.get('strategy') and not space:
                raise UserError(f'{path}: {method} has a strategy, but no space')
            cells[method, task] = Cell(
                config.get('name', path.stem),
                task,
                about.get('group', ''),
                method,
                backbone or stated,
                file,
                json.loads(json.dumps(options).replace('{task}', task)),
                Space(space, entry.get('start')) if space else None,
                config.get('metric'),
                entry.get('folder'),
                entry.get('strategy'),
            )
    return Suite(
        config.get('name', path.stem),
        tuple(tasks),
        tuple(chosen),
        cells,
        config.get('protocol', 'own'),
        tuple(config['seeds']) if config.get('seeds') else None,
    )
