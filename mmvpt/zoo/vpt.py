# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""VPT-shallow and VPT-deep, in the protocols of the papers that report them."""

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
    read_table,
    zoo_config,
)

FOLDER = 'vpt'
NAME = 'VPT'
TITLE = 'Visual Prompt Tuning'
URL = 'https://arxiv.org/abs/2203.12119'
TECHNIQUES = ['Visual prompt tuning', 'SGD with Momentum']
README = 'docs/methods/vpt.md'
METHODS = {'vpt-shallow': 'VPT-shallow', 'vpt-deep': 'VPT-deep'}

#: Gated Prompt Tuning compares with VPT on the FGVC tasks of MAE and MoCo v3.
GATED_URL = 'https://arxiv.org/abs/2306.05067'
DATASETS = {'fgvc': 'fgvc', 'vtab': 'vtab1k'}
#: Batch sizes of the released code, with fewer prompts than the limit and from it on.
LIMIT, BATCH, BATCH_OF_LONG = 100, 128, 64


def configs() -> Iterator[Config]:
    """Yield every config of the method."""
    rows = {
        (row['method'], row['backbone'], row['scope']): row for row in read_table('vpt')
    }
    for method in METHODS:
        for backbone in ('in21k', 'mae', 'mocov3'):
            for task in TASKS.values():
                own = [
                    rows.get((method, backbone, scope))
                    for scope in (task.name, task.benchmark)
                ]
                row = next(filter(None, own), None)
                if row is not None:
                    yield _config(method, backbone, task, row, lent=False)
                    continue
                supervised = (task.name, task.benchmark)
                found = (rows.get((method, 'in21k', s)) for s in supervised)
                row = dict(next(filter(None, found)), lr='', weight_decay='')
                yield _config(method, backbone, task, row, lent=True)


def _config(
    method: str, backbone: str, task: Task, row: dict[str, str], lent: bool
) -> Config:
    gated = backbone != 'in21k' and task.benchmark == 'fgvc'
    if gated:
        source, note = f'{GATED_URL}, Table 1', 'one seed'
    elif task.benchmark == 'vtab':
        source = f'{URL}, supplementary tables'
        note = 'trained on all 1,000 images, mean of 5 seeds'
    else:
        source, note = f'{URL}, supplementary tables', ''
    head = [
        f'{METHODS[method]} on {task.title}, {BACKBONES[backbone]}.',
        f'Source: {source}.',
        figures(method, backbone, task, note),
        f'Protocol: {PROTOCOLS[task.benchmark]}.',
        _origin(method, row, gated, lent),
    ]
    bases = [
        f'models/vit-base-p16_{backbone}',
        f'datasets/{DATASETS[task.benchmark]}',
        'schedules/vpt_sgd_100e',
        'default_runtime',
    ]
    num_tokens = int(row['num_tokens'])
    if method == 'vpt-deep':
        prompt = dict(type='DeepPrompt', num_tokens=num_tokens, drop_rate=0.1)
    else:
        prompt = dict(type='ShallowPrompt', num_tokens=num_tokens)
    settings: dict[str, Any] = dict(
        model=dict(
            backbone=dict(prompt=prompt, **_pooling(backbone, gated)),
            head=dict(num_classes=task.num_classes),
        ),
        **data_settings(task, BATCH if num_tokens < LIMIT else BATCH_OF_LONG),
    )
    if row['lr']:
        optimizer = dict(lr=float(row['lr']), weight_decay=float(row['weight_decay']))
        settings['optim_wrapper'] = dict(optimizer=optimizer)
    return zoo_config(FOLDER, method, backbone, task, head, bases, settings)


def _pooling(backbone: str, gated: bool) -> dict[str, Any]:
    """Return the pooling; VPT's code replaces the norm of MAE, the other keeps it."""
    if backbone == 'in21k':
        return {}
    if backbone == 'mocov3':
        return dict(pooling='cls', final_norm='pretrained')
    return dict(
        pooling='prompts_and_patches',
        norm_before_pool=False,
        final_norm='pretrained' if gated else 'fresh-frozen',
    )


def _origin(method: str, row: dict[str, str], gated: bool, lent: bool) -> str:
    """Say where the values come from and which are placeholders."""
    if row['lr']:
        return 'num_tokens, lr and weight_decay as logged by the authors.'
    sweep = 'sweep lr and weight_decay on val (see the schedule).'
    if gated:
        return f"num_tokens is the table's; its recipe is not released: {sweep}"
    if lent:
        return (
            'num_tokens is that of the supervised ViT, for want of a published one; '
            f'{sweep}'
        )
    if method == 'vpt-deep':
        return f'num_tokens as the paper chose for this task; {sweep}'
    return f'num_tokens is a placeholder: sweep it too; {sweep}'
