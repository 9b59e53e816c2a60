# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Baselines on the supervised ViT: those of the VPT paper, a probe, the rivals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .source import Code
from .tables import (
    BACKBONES,
    PROTOCOLS,
    TASKS,
    Config,
    Task,
    data_settings,
    figures,
    zoo_config,
)


class Baseline(NamedTuple):
    """What a baseline trains, and how."""

    title: str
    backbone: dict[str, Any]  # what it adds to the backbone; {} for the head alone
    schedule: str
    source: str = 'https://arxiv.org/abs/2203.12119, supplementary tables'


FOLDER = 'baselines'
NAME = 'Baselines'
TITLE = 'Visual Prompt Tuning'
URL = 'https://arxiv.org/abs/2203.12119'
TECHNIQUES = ['Fine-tuning', 'Linear probe', 'SGD with Momentum', 'AdamW', 'L-BFGS']
README = 'docs/methods/vpt.md'
BASELINES = {
    'linear': Baseline('Linear probe, trained by SGD', {}, 'vpt_sgd_100e'),
    'linear-converged': Baseline(
        'Converged linear probe (L-BFGS, L2 chosen on validation)', {}, 'probe_lbfgs'
    ),
    'mlp': Baseline("Head with hidden layers (VPT's MLP baseline)", {}, 'vpt_sgd_100e'),
    'full': Baseline('Full fine-tuning', dict(tunable='full'), 'adamw_100e'),
    'bias': Baseline('Bias tuning (BitFit)', dict(tunable='bias'), 'vpt_sgd_100e'),
    'partial-1': Baseline(
        'The last layer and the final norm', dict(tunable='partial-1'), 'vpt_sgd_100e'
    ),
    'lora': Baseline(
        'LoRA of queries and values, rank 8',
        dict(drop_path_rate=0.1, adapter=dict(type='LoRA', rank=8)),
        'adapter_adamw_100e',
        'https://arxiv.org/abs/2501.18936 (quoted there; rank unknown)',
    ),
    'adapter-plus': Baseline(
        'Adapter+, width 8',
        dict(
            drop_path_rate=0.1,
            adapter=dict(type='AdapterPlus', rank=8, drop_path_rate=0.1),
        ),
        'adapter_adamw_100e',
        'https://arxiv.org/abs/2406.06820, abstract (trained on train and val)',
    ),
    'ssf': Baseline(
        'SSF, scaled and shifted features',
        dict(drop_path_rate=0.1, adapter=dict(type='SSF')),
        'adapter_adamw_100e',
    ),
}
METHODS = {name: baseline.title for name, baseline in BASELINES.items()}
BACKBONE = 'in21k'
#: How a schedule comes to its lr, if it is not swept.
PROTOCOLS_OF_LR = {
    'probe_lbfgs': 'fits once',
    'adapter_adamw_100e': 'one recipe for all tasks, nothing is swept',
}
DATASETS = {'fgvc': 'fgvc', 'vtab': 'vtab1k'}


def configs() -> Iterator[Config]:
    """Yield every config of the baselines."""
    for method, baseline in BASELINES.items():
        for task in TASKS.values():
            yield _config(method, baseline, task)


def _config(method: str, baseline: Baseline, task: Task) -> Config:
    converged = baseline.schedule == 'probe_lbfgs'
    head = [f'{baseline.title}, on {task.title}, {BACKBONES[BACKBONE]}.']
    figure = figures(method, BACKBONE, task)
    if 'no figure' not in figure:
        head.append(f'Source: {baseline.source}.')
    protocol = PROTOCOLS_OF_LR.get(
        baseline.schedule, 'lr and weight_decay are swept on val'
    )
    head += [figure, f'Protocol: {PROTOCOLS[task.benchmark]}; {protocol}.']
    bases = [
        f'models/vit-base-p16_{BACKBONE}',
        f'datasets/{DATASETS[task.benchmark]}',
        f'schedules/{baseline.schedule}',
        'default_runtime',
    ]
    model: dict[str, Any] = {}
    if baseline.backbone:
        model['backbone'] = baseline.backbone
    model['head'] = dict(num_classes=task.num_classes)
    settings = dict(model=model, **data_settings(task))
    if method == 'mlp':
        model['head'] = dict(
            _delete_=True,
            type='StackedLinearClsHead',
            num_classes=task.num_classes,
            in_channels=768,
            mid_channels=[768, 768],
            act_cfg=dict(type='ReLU'),
            loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        )
        settings['optim_wrapper'] = dict(paramwise_cfg=Code('None'))
    launcher = 'python tools/train.py' if converged else 'bash tools/dist_train.sh'
    return zoo_config(FOLDER, method, BACKBONE, task, head, bases, settings, launcher)
