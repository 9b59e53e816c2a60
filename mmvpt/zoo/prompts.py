# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Methods whose released code documents few settings: a table of what is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .tables import (
    BACKBONES,
    PROTOCOLS,
    TASKS,
    Config,
    data_settings,
    figures,
    read_table,
    zoo_config,
)

SGD, ADAMW = 'SGD with Momentum', 'AdamW'
#: MAE's feature; VPT's code and its forks put a new norm behind it, others keep it.
MAE = dict(pooling='prompts_and_patches', norm_before_pool=False)
#: Head of the released code of SPT and BPT.
TRUNCATED = dict(_delete_=True, type='TruncNormal', layer='Linear', bias=0)


class Recipe(NamedTuple):
    """How a method is trained.

    Attributes:
        schedule: Of configs/_base_/schedules.
        batch_size: Of training.
        crops: Whether photographs are cropped at random sizes.
        fresh_norm: Whether MAE's norm is a new one.
        truncated_head: Whether the head starts as that of SPT.
        runtime: Of configs/_base_.
    """

    schedule: str
    batch_size: int
    crops: bool = False
    fresh_norm: bool = True
    truncated_head: bool = False
    runtime: str = 'default_runtime'


VPT = Recipe('vpt_sgd_100e', 64)
SPT = Recipe('spt_adamw_100e', 32, True, False, True)


def _rank(row: dict[str, str]) -> dict[str, Any]:
    return dict(rank=int(row['rank']))


class Method(NamedTuple):
    """What the tools ask of a method, as they ask the modules beside this one.

    Attributes:
        FOLDER: Below configs.
        NAME: For people.
        TITLE: Of the paper.
        URL: Of the paper.
        README: Its page.
        METHODS: Names of configs and what they are called.
        prompts: The prompt's settings of each name but for num_tokens.
        recipe: How it is trained.
        own: What its prompt takes from a row of the table.
    """

    FOLDER: str
    NAME: str
    TITLE: str
    URL: str
    README: str
    METHODS: Mapping[str, str]
    prompts: Mapping[str, dict[str, Any]]
    recipe: Recipe
    own: Callable[[dict[str, str]], dict[str, Any]] = lambda row: {}

    @property
    def TECHNIQUES(self) -> list[str]:  # noqa: N802
        """For the metafile."""
        return ['Visual prompt tuning', ADAMW if 'adamw' in self.recipe[0] else SGD]

    def configs(self) -> Iterator[Config]:
        """Yield every config of the method."""
        for row in read_table('prompts'):
            if row['method'] in self.METHODS:
                yield self._config(row)

    def _config(self, row: dict[str, str]) -> Config:
        name, backbone, task = row['method'], row['backbone'], TASKS[row['task']]
        head = [
            f'{self.METHODS[name]} on {task.title}, {BACKBONES[backbone]}.',
            f'Source: {self.URL} and its released code.',
            figures(name, backbone, task),
            f'Protocol: {PROTOCOLS[task.benchmark]}.',
            row['note'],
        ]
        recipe = self.recipe
        crops = '_resized_crops' if recipe.crops else ''
        data = 'vtab1k' if task.benchmark == 'vtab' else f'fgvc{crops}'
        bases = [
            f'models/vit-base-p16_{backbone}',
            f'datasets/{data}',
            f'schedules/{recipe.schedule}',
            recipe.runtime,
        ]
        prompt = dict(self.prompts[name], num_tokens=int(row['num_tokens']))
        prompt = dict(type=prompt.pop('type'), **prompt, **self.own(row))
        classifier: dict[str, Any] = dict(num_classes=task.num_classes)
        if recipe.truncated_head:
            std = 0.01 if backbone == 'mocov3' else 0.02
            classifier['init_cfg'] = dict(TRUNCATED, std=std)
        settings = dict(
            model=dict(
                backbone=dict(prompt=prompt, **self._pooling(backbone)),
                head=classifier,
            ),
            **data_settings(task, recipe.batch_size),
        )
        if row['lr']:
            settings['optim_wrapper'] = _optimizer(row)
        if row['scale_lr'] == 'no':
            settings['auto_scale_lr'] = dict(enable=False)
        return zoo_config(self.FOLDER, name, backbone, task, head, bases, settings)

    def _pooling(self, backbone: str) -> dict[str, Any]:
        if backbone == 'mae':
            norm = 'fresh-frozen' if self.recipe.fresh_norm else 'pretrained'
            return dict(MAE, final_norm=norm)
        if backbone == 'mocov3':
            return dict(pooling='cls', final_norm='pretrained')
        return {}


def _optimizer(row: dict[str, str]) -> dict[str, Any]:
    decay = float(row['weight_decay'])
    settings: dict[str, Any] = dict(
        optimizer=dict(lr=float(row['lr']), weight_decay=decay)
    )
    if row['head_decay']:
        times = round(float(row['head_decay']) / decay, 6)
        keys = {'head.fc.weight': dict(decay_mult=times)}
        settings['paramwise_cfg'] = dict(custom_keys=keys)
    return settings


METHODS = (
    Method(
        'vfpt',
        'VFPT',
        'Visual Fourier Prompt Tuning',
        'https://arxiv.org/abs/2411.01327',
        'docs/methods/vfpt.md',
        {'vfpt': 'VFPT'},
        {'vfpt': dict(type='FourierPrompt', drop_rate=0.1)},
        VPT,
        lambda row: dict(ratio=float(row['ratio'])),
    ),
    Method(
        'bpt',
        'BPT',
        'Attention to the Burstiness in Visual Prompt Tuning!',
        'https://arxiv.org/abs/2506.22908',
        'docs/methods/bpt.md',
        {'bpt-shallow': 'BPT-bilinear, shallow', 'bpt-deep': 'BPT-bilinear, deep'},
        {
            'bpt-shallow': dict(type='BilinearPrompt', depth='shallow'),
            'bpt-deep': dict(type='BilinearPrompt', depth='deep', tuned_bases=4),
        },
        SPT,
        _rank,
    ),
    Method(
        'provpt',
        'PRO-VPT',
        'PRO-VPT: Distribution-Adaptive Visual Prompt Tuning via Prompt Relocation',
        'https://arxiv.org/abs/2503.06901',
        'docs/methods/provpt.md',
        {'provpt': 'PRO-VPT'},
        {'provpt': dict(type='RelocatedPrompt', drop_rate=0.1)},
        Recipe('provpt_sgd_100e', 64, runtime='provpt_runtime'),
    ),
    Method(
        'spt',
        'SPT',
        'Revisiting the Power of Prompt for Visual Tuning',
        'https://arxiv.org/abs/2402.02382',
        'docs/methods/spt.md',
        {'spt-shallow': 'SPT, shallow', 'spt-deep': 'SPT, deep'},
        {
            'spt-shallow': dict(type='SelfPrompt', depth='shallow'),
            'spt-deep': dict(type='SelfPrompt', depth='deep'),
        },
        SPT,
    ),
    Method(
        'vipamin',
        'VIPAMIN',
        'VIPAMIN: Visual Prompt Initialization via Embedding Selection and Subspace '
        'Expansion',
        'https://arxiv.org/abs/2510.16446',
        'docs/methods/vipamin.md',
        {'vipamin': 'VIPAMIN, shallow'},
        {'vipamin': dict(type='VipaminPrompt', num_matches=8, orthogonal=0.5)},
        Recipe('adamw_100e', 32),
    ),
    Method(
        'pae',
        'PAE',
        'Visual Prompt-Agnostic Evolution',
        'https://arxiv.org/abs/2601.20232',
        'docs/methods/pae.md',
        {'pae': 'VPT-deep with PAE'},
        {'pae': dict(type='EvolvingPrompt', drop_rate=0.1)},
        Recipe('vpt_sgd_100e', 128),
    ),
)
