# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The methods of the zoo and their configs, from methods.yml and cells.csv."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from mmengine.fileio import load

from . import davpt
from .shipped import BACKBONES
from .source import config
from .tables import (
    BASE_BATCH,
    PROTOCOLS,
    TABLES,
    TASKS,
    Config,
    Task,
    data_settings,
    figures,
    file_name,
    read_table,
)

_FLOATS = ('ratio', 'lr', 'weight_decay', 'head_decay')


@dataclass(frozen=True)
class Paper:
    """The methods of one paper; see the head of methods.yml.

    Args:
        folder: Its folder below configs.
        name: Its name.
        title: Title of the paper.
        url: Address of the paper.
        techniques: For the metafile.
        methods: Names in configs and tables, and in texts.
        readme: Its page.
        backbones: Those with a config for every task.
        spaces: What suites search, by method.
        cells: What the configs have.
    """

    folder: str
    name: str
    title: str
    url: str
    techniques: list[str]
    methods: Mapping[str, str]
    readme: str
    backbones: tuple[str, ...] = ()
    spaces: Mapping[str, str] = field(default_factory=dict)
    cells: tuple[Mapping[str, Any], ...] = ()

    def configs(self) -> Iterator[Config]:
        """Yield every config of the tables."""
        if self.folder == 'davpt':
            for method, backbone, task, about in davpt.abouts():
                yield self._config(method, backbone, task, about)
            return
        every = itertools.product(self.methods, self.backbones, TASKS)
        listed = (key for key in rows() if key[0] in self.methods)
        for method, backbone, name in every if self.backbones else listed:
            about = self._about(method, backbone, TASKS[name])
            yield self._config(method, backbone, TASKS[name], about)

    def _config(
        self, method: str, backbone: str, task: Task, about: Mapping[str, Any]
    ) -> Config:
        lead = about.get('lead', '{method} on {task}, {backbone}.').format(
            method=self.methods[method], task=task.title, backbone=BACKBONES[backbone]
        )
        source = about.get('source', f'{self.url} and its released code')
        of = about.get('figure_of', method)
        published = figures(of, backbone, task, about.get('remark', ''))
        final = 'vtab-final' if about.get('final') else task.benchmark
        name = file_name(method, backbone, task)
        launcher = about.get('launcher', 'bash tools/dist_train.sh')
        command = f'Run: {launcher} configs/{self.folder}/{name}.py'
        head = [
            lead,
            f'Source: {source}.',
            published,
            f'Protocol: {PROTOCOLS[final]}{about.get("protocol", "")}.',
            *about.get('notes', filter(None, [about.get('note')])),
            'Written by tools/zoo.py from the tables in mmvpt/zoo/data.',
            command + ' 1' * launcher.endswith('.sh'),
        ]
        if about.get('source_of_figure') and 'no figure' in published:
            del head[1]
        bases = about.get('bases') or _bases(backbone, task, about)
        bases = [b if b.startswith('./') else f'../_base_/{b}.py' for b in bases]
        settings = about.get('settings') or _settings(task, about)
        return Config(method, backbone, task, config(head, bases, settings))

    def _about(self, method: str, backbone: str, task: Task) -> dict[str, Any]:
        """Return everything that is said of a config, by name."""
        place = dict(task._asdict(), method=method, backbone=backbone)
        about: dict[str, Any] = dict(num_classes=task.num_classes)
        for entry in self.cells:
            wanted = entry.get('if', {}).items()
            if all(place[k] in (v if isinstance(v, list) else [v]) for k, v in wanted):
                about.update(entry)
        for scope in (task.name, task.group, task.benchmark):
            for weights in (backbone, ''):
                if row := rows().get((method, weights, scope)):
                    return {**about, **row}
        return about


@cache
def rows() -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return what cells.csv has of each method, backbone and scope."""
    return {
        (row['method'], row['backbone'], row['scope']): {
            key: _value(key, text)
            for key, text in row.items()
            if text and key not in ('method', 'backbone', 'scope')
        }
        for row in read_table('cells')
    }


def _value(key: str, text: str) -> Any:
    if key == 'note':
        return text
    return int(text) if text.isdigit() and key not in _FLOATS else float(text)


def _filled(value: Any, about: Mapping[str, Any]) -> Any:
    """Return settings with ``$name`` replaced; what has no value is left out."""
    if isinstance(value, str) and value.startswith('$'):
        return about.get(value[1:])
    if not isinstance(value, Mapping):
        return value
    filled = {key: _filled(item, about) for key, item in value.items()}
    return {key: item for key, item in filled.items() if item is not None}


def _bases(backbone: str, task: Task, about: Mapping[str, Any]) -> list[str]:
    """Return the parts that a config inherits, below configs/_base_."""
    vtab = 'vtab1k_final' if about.get('final') else 'vtab1k'
    dataset = about.get('dataset', dict(fgvc='fgvc', vtab=vtab)[task.benchmark])
    return [
        f'models/vit-base-p16_{backbone}',
        f'datasets/{dataset}',
        f'schedules/{about["schedule"]}',
        about.get('runtime', 'default_runtime'),
    ]


def _settings(task: Task, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a config assigns."""
    prompt = dict(prompt=about['prompt']) if 'prompt' in about else {}
    backbone = {**prompt, **about.get('backbone', {})}
    model = dict(backbone=backbone) if backbone else {}
    model['head'] = about.get('head', dict(num_classes='$num_classes'))
    return dict(
        model=_filled(model, about),
        **data_settings(
            task, about.get('batch_size', BASE_BATCH), about.get('final', False)
        ),
        **_optimizer(about),
        **about.get('more', {}),
    )


def _optimizer(about: Mapping[str, Any]) -> dict[str, Any]:
    optimizer = {key: about[key] for key in ('lr', 'weight_decay') if key in about}
    settings: dict[str, Any] = dict(optimizer=optimizer)
    if 'head_decay' in about:
        times = round(about['head_decay'] / about['weight_decay'], 6)
        keys = {'head.fc.weight': dict(decay_mult=times)}
        settings['paramwise_cfg'] = dict(custom_keys=keys)
    return dict(optim_wrapper=settings) if optimizer else {}


#: By folder, in the order of the page.
PAPERS = {entry['folder']: Paper(**entry) for entry in load(TABLES / 'methods.yml')}
