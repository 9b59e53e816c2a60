# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Gated Prompt Tuning: Table 5 of the paper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .tables import (
    BACKBONES,
    PROTOCOLS,
    TASKS,
    Config,
    data_settings,
    figures,
    published,
    read_table,
    zoo_config,
)

FOLDER = 'gatedvpt'
NAME = 'Gated Prompt Tuning'
TITLE = 'Improving Visual Prompt Tuning for Self-supervised Vision Transformers'
URL = 'https://arxiv.org/abs/2306.05067'
TECHNIQUES = ['Visual prompt tuning', 'SGD with Momentum']
README = 'docs/methods/gated.md'
METHODS = {'gatedvpt': 'Gated Prompt Tuning'}

#: What each backbone's features are: the released code's "original" pooling.
POOLING: dict[str, dict[str, Any]] = {
    'mae': dict(
        pooling='prompts_and_patches',
        norm_before_pool=False,
        final_norm='pretrained',
    ),
    'mocov3': dict(pooling='cls', final_norm='pretrained'),
}
DATASETS = {'fgvc': 'fgvc', 'vtab': 'vtab1k_final'}
TABLE = {'fgvc': 1, 'vtab': 2}


def configs() -> Iterator[Config]:
    """Yield every config of the method."""
    for row in read_table('gatedvpt'):
        backbone, task = row['backbone'], TASKS[row['task']]
        final = task.benchmark == 'vtab'
        note = 'one seed'
        if published('gatedvpt', backbone, task)[0] is None:
            note += '; the task alone only in a figure'
        head = [
            f'Gated Prompt Tuning on {task.title}, {BACKBONES[backbone]}.',
            f'Source: {URL}, Tables {TABLE[task.benchmark]} and 5.',
            figures('gatedvpt', backbone, task, note),
            f'Protocol: {PROTOCOLS["vtab-final" if final else "fgvc"]}.',
        ]
        bases = [
            f'models/vit-base-p16_{backbone}',
            f'datasets/{DATASETS[task.benchmark]}',
            'schedules/gatedvpt_sgd_100e',
            'default_runtime',
        ]
        prompt = dict(
            type='GatedPrompt',
            num_tokens=int(row['num_tokens']),
            gate_init=int(row['gate_init']),
            drop_rate=0.1,
        )
        settings = dict(
            model=dict(
                backbone=dict(prompt=prompt, **POOLING[backbone]),
                head=dict(num_classes=task.num_classes),
            ),
            **data_settings(task, int(row['batch_size']), final),
            optim_wrapper=dict(optimizer=dict(lr=float(row['lr']))),
        )
        yield zoo_config(FOLDER, 'gatedvpt', backbone, task, head, bases, settings)
