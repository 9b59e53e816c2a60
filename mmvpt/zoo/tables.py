# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The tables below mmvpt/zoo/data, and what all methods say alike."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmvpt.datasets import FGVC, VTAB1k

from .source import Code

TABLES = Path(__file__).parent / 'data'
#: What a figure is the mean of, if it is not that of the task.
MEANS = {
    'fgvc': 'mean of the five FGVC tasks',
    'natural': 'mean of the 7 Natural tasks',
    'specialized': 'mean of the 4 Specialized tasks',
    'structured': 'mean of the 8 Structured tasks',
}
PROTOCOLS = {
    'fgvc': 'FGVC, train on train, select on val',
    'vtab': 'VTAB-1k, tune on train800, select on val200; the final model trains on '
    'all 1,000 images (docs/model_zoo.md)',
    'vtab-final': 'VTAB-1k, train on all 1,000 images, nothing is left to select on',
}
#: The batch size of the datasets in configs/_base_/datasets.
BASE_BATCH = 64
#: The tasks that configs/_base_/datasets start from.
BASE_TASKS = ('cub', 'vtab-cifar100')


class Task(NamedTuple):
    """A task of the zoo."""

    name: str  # as in the names of configs
    title: str
    benchmark: str  # 'fgvc' or 'vtab'
    group: str  # 'fgvc', 'natural', 'specialized' or 'structured'
    key: str  # what the dataset calls it
    num_classes: int


class Config(NamedTuple):
    """A config of the zoo."""

    method: str
    backbone: str
    task: Task
    text: str

    @property
    def name(self) -> str:
        """The name of its file, without the ending."""
        return file_name(self.method, self.backbone, self.task)


def read_table(name: str) -> list[dict[str, str]]:
    """Return the rows of a table, each by column."""
    with open(TABLES / f'{name}.csv', newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def _tasks() -> Iterator[Task]:
    for row in read_table('tasks'):
        name, title = row['task'], row['title']
        if name in FGVC.TASKS:
            classes = FGVC.TASKS[name].num_classes
            yield Task(name, title, 'fgvc', 'fgvc', name, classes)
        else:
            key = name[len('vtab-') :].replace('-', '_')
            task = VTAB1k.TASKS[key]
            title = f'{title} of VTAB-1k'
            yield Task(name, title, 'vtab', task.group, key, task.num_classes)


TASKS = {task.name: task for task in _tasks()}
#: Method, backbone and task or mean -> top-1, for segmentation mIoU, in percent.
PUBLISHED = {
    (row['method'], row['backbone'], row['scope']): row['figure']
    for row in read_table('published')
}


def file_name(method: str, backbone: str, task: Task) -> str:
    """Return the name of a config, without the ending."""
    return f'{method}_vit-base-p16_{backbone}_{task.name}'


def published(method: str, backbone: str, task: Task) -> tuple[str | None, str | None]:
    """Return the published figures of the task itself and of its group."""
    one, mean = (
        PUBLISHED.get((method, backbone, scope)) for scope in (task.name, task.group)
    )
    return one, mean


def figures(method: str, backbone: str, task: Task, note: str = '') -> str:
    """Say what is published for a config.

    Args:
        method: Its method.
        backbone: The pretraining of its backbone.
        task: Its task.
        note: How the figures came about.
    """
    one, mean = published(method, backbone, task)
    parts = [f'top-1 {one}'] if one else []
    if mean:
        parts.append(f'{MEANS[task.group]} {mean}')
    if not parts:
        return 'Published: no figure of this method, task and backbone known to us.'
    return f'Published: {", ".join(parts)}{note and f" ({note})"}.'


def data_settings(
    task: Task, batch_size: int = BASE_BATCH, final: bool = False
) -> dict[str, Any]:
    """Return what a config sets of the data, where it differs from its base.

    Args:
        task: The task.
        batch_size: Of training.
        final: Whether all images of VTAB-1k train, so that there is no validation.
    """
    key = 'name' if task.benchmark == 'fgvc' else 'task'
    data = {} if task.name in BASE_TASKS else dict(dataset={key: task.key})
    batch = {} if batch_size == BASE_BATCH else dict(batch_size=batch_size)
    settings: dict[str, Any] = {}
    if batch or data:
        settings['train_dataloader'] = dict(**batch, **data)
    for stage in ('test',) if final else ('val', 'test'):
        if data:
            settings[f'{stage}_dataloader'] = data
        if task.num_classes < 5:
            settings[f'{stage}_evaluator'] = dict(topk=(1,))
    if final:
        settings['val_cfg'] = Code('None  # all 1,000 images train')
    return settings
