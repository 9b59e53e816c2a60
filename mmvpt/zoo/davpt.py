# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""DA-VPT, DA-VPT+ and the release: its files, read as its code reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .source import Code
from .tables import TASKS, Task, data_settings, file_name, read_table

URL = 'https://arxiv.org/abs/2505.23694'
PAPER = dict(
    source=f'{URL}, Table 1, and its released code', remark='best epoch on test'
)
LAYERS = 12
#: Batch and images per class of configs/_base_/datasets/*_davpt.py.
BATCH, PER_CLASS = 32, 2
#: What configs/_base_/models/davpt_*.py set: drop-path and mask.
MODELS = {
    'augreg-in21k': (0.0, True),
    'mae': (0.0, True),
    'mocov3': (0.1, False),
}
#: Columns of the table that are text or true or false; the others are numbers.
TEXTS = ('file', 'backbone', 'task', 'vpt_norm')
DATASETS = {'fgvc': 'fgvc_davpt', 'vtab': 'vtab1k_davpt'}
#: What every released file tunes besides prompts and head, and what some of them do.
TUNED = (
    'layers.*.attn.qkv.bias.value',
    'patch_embed.projection.bias',
    'layers.*.attn.proj.bias',
    'layers.*.ffn.layers.1.bias',
    'layers.*.ln2.bias',
)
TUNED_BY_SOME = {
    'bias_k': 'layers.*.attn.qkv.bias.key',
    'norm_norm1': 'layers.*.ln1.*',
    'train_cls': 'cls_token',
}


def released_files(
    revived: bool = True,
) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Return the values of the released files, and remarks on them, by file.

    Args:
        revived: Whether metric losses count that a misspelt key or a scale of 0 keeps
            from acting in the release.
    """
    files = {}
    for row in read_table('davpt'):
        files[row['file']] = {
            key: text if key in TEXTS else _number(text) for key, text in row.items()
        }
    notes: dict[str, list[str]] = {}
    for row in read_table('davpt_notes'):
        if row['key'] and revived:
            files[row['file']][row['key']] = _number(row['value'])
        if row['note']:
            notes.setdefault(row['file'], []).append(row['note'])
    return files, notes


def abouts() -> Iterator[tuple[str, str, Task, dict[str, Any]]]:
    """Yield method, backbone, task and what its config has, see ``Paper``."""
    files, notes = released_files()
    own = {(row['backbone'], row['task']): (row, '') for row in files.values()}
    borrowed = {
        (row['backbone'], row['task']): (files[row['file']], row['why'])
        for row in read_table('davpt_borrowed')
    }
    recipes = {**own, **borrowed}
    for backbone in MODELS:
        for task in TASKS.values():
            row, why = recipes[backbone, task.name]
            remarks = notes.get(row['file'], [])
            alone = _prompts_alone(backbone, task, row, why, remarks)
            yield 'davpt', backbone, task, alone
            yield 'davpt-plus', backbone, task, _with_biases(backbone, task, row)
    for row in released_files(revived=False)[0].values():
        task = TASKS[row['task']]
        yield 'davpt-released', row['backbone'], task, _released(task, row)


def _number(text: str) -> float | int | bool:
    if text in ('True', 'False'):
        return text == 'True'
    return int(text) if text.isdigit() else float(text)


def _prompts_alone(
    backbone: str, task: Task, row: dict[str, Any], why: str, remarks: list[str]
) -> dict[str, Any]:
    """Return what a config of DA-VPT has, which tunes prompts and head."""
    file = f'{row["file"]}.yaml'
    taken = 'tokens, guided layers, loss weights, drop-path, optimizer'
    if why:
        origin = f'Not a released recipe, {why}: {taken} of the nearest, {file}.'
    else:
        origin = f'From the released {file}: {taken}.'
    note = (
        f'{origin} It tunes biases and more; this tunes prompts and head alone, and '
        'compares tokens and groups classes as the paper says: sweep the weights on '
        'val.'
    )
    settings = _settings(backbone, task, row)
    settings['default_hooks'] = dict(metric_guidance=_guidance(row))
    return dict(
        PAPER,
        notes=[note, *remarks],
        bases=_bases(backbone, task, 'davpt_runtime'),
        settings=settings,
    )


def _with_biases(backbone: str, task: Task, row: dict[str, Any]) -> dict[str, Any]:
    """Return what a config of DA-VPT+ has, which adds biases and the class token."""
    tuned = ['keys'] if row['bias_k'] else []
    tuned += ['values', 'projections', 'MLP outputs', 'second norms']
    biases = f'{", ".join(tuned[:-1])} and {tuned[-1]}'
    more = ['the first norms'] if row['norm_norm1'] else []
    more += ['the class token'] if row['train_cls'] else []
    also = f'; and {" and ".join(more)}' if more else ''
    notes = [
        'Also tunes biases of keys and values and the class token, as the paper says. '
        f'{row["file"]}.yaml tunes biases of {biases}{also}.',
        'All else is the config below.',
    ]
    return dict(
        PAPER,
        notes=notes,
        bases=[f'./{file_name("davpt", backbone, task)}.py'],
        settings=dict(model=dict(backbone=dict(tunable='davpt+'))),
    )


def _released(task: Task, row: dict[str, Any]) -> dict[str, Any]:
    """Return what the config of a released file has, which does what its code does."""
    backbone, final = row['backbone'], task.benchmark == 'vtab'
    settings = _settings(backbone, task, row, final)
    tuned: Any = [*TUNED, *(name for key, name in TUNED_BY_SOME.items() if row[key])]
    if len(tuned) == len(TUNED) + len(TUNED_BY_SOME):
        tuned = 'davpt-released'
    settings['model']['backbone']['tunable'] = tuned
    settings['optim_wrapper'] = dict(
        type='AmpOptimWrapper', **settings['optim_wrapper']
    )
    guidance, notes, runtime = _guidance(row), [], 'davpt_released_runtime'
    weights = guidance['visual_weight'] or guidance['cls_weight']
    if weights and row['loss_vpt_scale_ratio']:
        settings['default_hooks'] = dict(
            semantic_mapping=dict(begin=row['dynamic_kmeans']),
            metric_guidance=guidance,
        )
    else:
        runtime = 'default_runtime'
        why = 'its scale is 0' if weights else 'the key of their weights is misspelt'
        notes.append(f'Its metric losses do not act, since {why}: there are none.')
    return dict(
        lead='{method}, on {task}, {backbone}.',
        source=f'{URL}, released code, {row["file"]}.yaml',
        figure_of='davpt-plus',
        remark='DA-VPT+, best epoch on test',
        final=final,
        protocol='. The release picks the best of the late epochs on the test images; '
        'this reads them once, at the end',
        notes=notes,
        bases=_bases(backbone, task, runtime, final),
        settings=settings,
    )


def _bases(backbone: str, task: Task, runtime: str, final: bool = False) -> list[str]:
    return [
        f'models/davpt_vit-base-p16_{backbone}',
        f'datasets/{DATASETS[task.benchmark]}{"_final" if final else ""}',
        'schedules/davpt_adamw_100e',
        runtime,
    ]


def _settings(
    backbone: str, task: Task, row: dict[str, Any], final: bool = False
) -> dict[str, Any]:
    """Return what a config sets of model, data and schedule.

    Args:
        backbone: Its pretraining.
        task: The task.
        row: The values of a released file.
        final: Whether all images of VTAB-1k train.
    """
    classes = Code('num_classes')
    return dict(
        num_classes=task.num_classes,
        model=dict(
            backbone=_backbone(backbone, task, row), head=dict(num_classes=classes)
        ),
        **_data(task, row, final),
        **_schedule(row),
    )


def _backbone(backbone: str, task: Task, row: dict[str, Any]) -> dict[str, Any]:
    drop_path, mask = MODELS[backbone]
    prompt = dict(
        num_classes=Code('num_classes'),
        num_guided_tokens=row['proxy_prompt_len'],
        num_tokens=row['num_prompts'],
    )
    first = row['proxy_prompt_start_idx']
    if LAYERS - first > 3:
        prompt['guided_layers'] = Code(f'list(range({first}, {LAYERS}))')
    elif LAYERS - first > 1:
        prompt['guided_layers'] = tuple(range(first, LAYERS))
    if task.num_classes < row['proxy_prompt_len']:
        prompt['mapping'] = 'auto'
    if row['vpt_norm'] != 'none':
        prompt['normalize'] = row['vpt_norm']
    if not row['init_divide_by8']:
        prompt['init_divisor'] = 1.0
    if row['mask'] != mask:
        prompt['mask'] = row['mask']
    settings: dict[str, Any] = dict(prompt=prompt)
    if row['drop_path'] != drop_path:
        settings['drop_path_rate'] = row['drop_path']
    return settings


def _data(task: Task, row: dict[str, Any], final: bool) -> dict[str, Any]:
    settings = data_settings(task, final=final)
    loader = {} if row['batch_size'] == BATCH else dict(batch_size=row['batch_size'])
    loader.update(settings.pop('train_dataloader', {}))
    if row['samples_per_class'] != PER_CLASS:
        loader['batch_sampler'] = dict(samples_per_class=row['samples_per_class'])
    return dict(train_dataloader=loader, **settings) if loader else settings


def _schedule(row: dict[str, Any]) -> dict[str, Any]:
    decay, head_decay = row['weight_decay'], row['wd_head']
    keys = {'head.fc.weight': float(f'{head_decay / decay:.10g}') if decay else 1.0}
    if not decay:  # the optimizer's is then that of the head
        decay = head_decay
        keys['backbone'] = 0.0
    custom = {name: dict(decay_mult=factor) for name, factor in keys.items()}
    settings: dict[str, Any] = dict(
        optim_wrapper=dict(
            optimizer=dict(lr=row['lr'], weight_decay=decay),
            paramwise_cfg=dict(custom_keys=custom),
        )
    )
    if (row['warmup_lr'], row['min_lr']) != (1e-8, 1e-9):
        settings['param_scheduler'] = dict(
            warmup_lr=row['warmup_lr'], eta_min=row['min_lr']
        )
    return settings


def _guidance(row: dict[str, Any]) -> dict[str, Any]:
    settings = dict(
        visual_weight=row['vpt_loss_weight'], cls_weight=row['cls_loss_weight']
    )
    scale = row['loss_vpt_scale_ratio']
    return settings if scale == 5 else dict(settings, loss=dict(scale=scale))
