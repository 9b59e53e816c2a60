# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""VAPT: what its released configs record, and where its search starts elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .tables import (
    BACKBONES,
    PROTOCOLS,
    TASKS,
    Config,
    Task,
    data_settings,
    figures,
    published,
    read_table,
    zoo_config,
)

FOLDER = 'vapt'
NAME = 'VAPT'
TITLE = 'Revisit Visual Prompt Tuning: The Expressiveness of Prompt Experts'
URL = 'https://arxiv.org/abs/2501.18936'
TECHNIQUES = ['Visual prompt tuning', 'SGD with Momentum']
README = 'docs/methods/vapt.md'
METHODS = {'vapt': 'VAPT'}

CLS = dict(pooling='cls', final_norm='pretrained')
POOLING: dict[str, dict[str, Any]] = {
    'in21k': CLS,
    'mae': dict(
        pooling='prompts_and_patches',
        norm_before_pool=False,
        final_norm='fresh-frozen',
    ),
    'mocov3': CLS,
}
DATASETS = {'fgvc': 'fgvc', 'vtab': 'vtab1k'}
#: Where the search of the released code starts: lr for a batch of 256, weight decay.
START = (5.0, 0.001)
#: The task of the only command that the paper's authors give.
COMMAND = 'vtab-cifar100'


def configs() -> Iterator[Config]:
    """Yield every config of the method."""
    recorded = {
        (row['backbone'], row['scope']): (float(row['lr']), float(row['weight_decay']))
        for row in read_table('vapt')
    }
    for backbone in POOLING:
        for task in TASKS.values():
            known = recorded.get((backbone, task.name))
            yield _config(backbone, task, known)


def _config(backbone: str, task: Task, known: tuple[float, float] | None) -> Config:
    note = '' if backbone == 'in21k' else 'second hand'
    head = [
        f'VAPT on {task.title}, {BACKBONES[backbone]}.',
        f'Source: {URL} and its released code.',
        figures('vapt', backbone, task, note),
        f'Protocol: {PROTOCOLS[task.benchmark]}.',
        _origin(backbone, task, known),
    ]
    bases = [
        f'models/vit-base-p16_{backbone}',
        f'datasets/{DATASETS[task.benchmark]}',
        'schedules/vpt_sgd_100e',
        'default_runtime',
    ]
    lr, weight_decay = known or START
    prompt = dict(type='AdaptivePrompt', num_tokens=10, init='released')
    settings = dict(
        model=dict(
            backbone=dict(prompt=prompt, **POOLING[backbone]),
            head=dict(num_classes=task.num_classes),
        ),
        **data_settings(task),
        optim_wrapper=dict(optimizer=dict(lr=lr, weight_decay=weight_decay)),
    )
    return zoo_config(FOLDER, 'vapt', backbone, task, head, bases, settings)


def _origin(backbone: str, task: Task, known: tuple[float, float] | None) -> str:
    """Say where the values come from and which are placeholders."""
    if known and task.name == COMMAND:
        return 'lr, weight_decay, num_tokens as released; sweep the first two on val.'
    if known:
        return (
            'lr and weight_decay are those of the released config, which chose them on '
            'test images; num_tokens is not recorded there.'
        )
    reported = any(published('vapt', backbone, task))
    where = 'The recipe is not released' if reported else 'The paper has no such row'
    return (
        f'{where}: lr, weight_decay and num_tokens are placeholders, from where the '
        'search of the released code starts; sweep them on val.'
    )
