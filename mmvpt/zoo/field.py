# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Methods of the field whose releases document their settings for each task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
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

BACKBONE = 'in21k'
DATASETS = {'fgvc': 'fgvc', 'vtab': 'vtab1k'}


@dataclass(frozen=True)
class FieldMethod:
    """A method on the supervised ViT, with settings for each task in ``field.csv``.

    Args:
        FOLDER: Folder of its configs, and its name in the tables.
        NAME: Its name.
        TITLE: Title of the paper.
        URL: Address of the paper.
        prompt: What its prompt has in every config, ``type`` among it.
        origin: Where the settings come from, for the head of a config.
        schedule: Its part in configs/_base_/schedules.
        runtime: Its part in configs/_base_.
        backbone: What the backbone has besides the prompt.
        TECHNIQUES: For the metafile.
    """

    FOLDER: str
    NAME: str
    TITLE: str
    URL: str
    prompt: dict[str, Any]
    origin: str
    schedule: str
    runtime: str = 'default_runtime'
    backbone: dict[str, Any] = field(default_factory=dict)
    TECHNIQUES: list[str] = field(
        default_factory=lambda: ['Visual prompt tuning', 'AdamW']
    )

    @property
    def METHODS(self) -> dict[str, str]:  # noqa: N802
        """Names in the tables and in texts."""
        return {self.FOLDER: self.NAME} if self._rows() else {}

    @property
    def README(self) -> str:  # noqa: N802
        """The page of the method."""
        return f'docs/methods/{self.FOLDER}.md'

    def configs(self) -> Iterator[Config]:
        """Yield every config of the method."""
        rows = self._rows()
        for task in TASKS.values() if rows else ():
            scopes = (task.name, task.group, task.benchmark)
            yield self._config(task, next(rows[s] for s in scopes if s in rows))

    def _rows(self) -> dict[str, dict[str, str]]:
        table = read_table('field')
        return {row['scope']: row for row in table if row['method'] == self.FOLDER}

    def _config(self, task: Task, row: dict[str, str]) -> Config:
        prompt = dict(self.prompt)
        for name in ('num_tokens', 'num_key_values', 'rank'):
            if row[name]:
                prompt[name] = int(row[name])
        if row['scale'] and float(row['scale']) != 0.1:
            prompt['scale'] = float(row['scale'])
        head = [
            f'{self.NAME} on {task.title}, {BACKBONES[BACKBONE]}.',
            f'Source: {self.URL} and its released code.',
            figures(self.FOLDER, BACKBONE, task),
            f'Protocol: {PROTOCOLS[task.benchmark]}.',
            self.origin,
        ]
        settings: dict[str, Any] = dict(
            model=dict(
                backbone=dict(prompt=prompt, **self.backbone),
                head=dict(num_classes=task.num_classes),
            ),
            **data_settings(task, int(row['batch'])),
        )
        optimizer = {k: float(row[k]) for k in ('lr', 'weight_decay') if row[k]}
        if optimizer:
            settings['optim_wrapper'] = dict(optimizer=optimizer)
        bases = [
            f'models/vit-base-p16_{BACKBONE}',
            f'datasets/{DATASETS[task.benchmark]}',
            f'schedules/{self.schedule}',
            self.runtime,
        ]
        return zoo_config(
            self.FOLDER, self.FOLDER, BACKBONE, task, head, bases, settings
        )


E2VPT = FieldMethod(
    FOLDER='e2vpt',
    NAME='E2VPT',
    TITLE='E^2VPT: An Effective and Efficient Approach for Visual Prompt Tuning',
    URL='https://arxiv.org/abs/2307.13770',
    prompt=dict(type='KeyValuePrompt'),
    origin='num_tokens and num_key_values as released; sweep lr and weight_decay on '
    'val (see the schedule), then prune and retrain with tools/prune.py.',
    schedule='vpt_sgd_100e',
    TECHNIQUES=['Visual prompt tuning', 'SGD with Momentum'],
)
CVPT = FieldMethod(
    FOLDER='cvpt',
    NAME='CVPT',
    TITLE='CVPT: Cross Visual Prompt Tuning',
    URL='https://arxiv.org/abs/2408.14961',
    prompt=dict(type='CrossPrompt'),
    origin='num_tokens and lr as released, for FGVC weight_decay and batch size too; '
    'for VTAB-1k those that its code really uses.',
    schedule='cvpt_adamw_100e',
    backbone=dict(drop_path_rate=0.1),
)
SA2VP = FieldMethod(
    FOLDER='sa2vp',
    NAME='SA2VP',
    TITLE='SA2VP: Spatially Aligned-and-Adapted Visual Prompt',
    URL='https://arxiv.org/abs/2312.10376',
    prompt=dict(type='SpatialPrompt'),
    origin='rank, scale, lr and batch size as its README gives them.',
    schedule='sa2vp_adamw_100e',
    runtime='sa2vp_runtime',
)
#: For segmentation: its configs are in no table.
REIN = FieldMethod(
    FOLDER='rein',
    NAME='Rein',
    TITLE='Stronger, Fewer, & Superior: Harnessing Vision Foundation Models for Domain '
    'Generalized Semantic Segmentation',
    URL='https://arxiv.org/abs/2312.04265',
    prompt=dict(type='RefiningPrompt'),
    origin='tokens as released.',
    schedule='rein_adamw_40k',
)
