# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""configs/davpt: the values of the released files, counts, groups, and a training."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, DefaultScope
from mmengine.runner import Runner

from mmvpt.models.tunable import count_parameters
from tests.miniatures import make_fgvc, make_vtab1k

CONFIGS = Path(__file__).parents[1] / 'configs/davpt'
BACKBONES = {'vitb': 'augreg-in21k', 'mae': 'mae', 'moco': 'mocov3'}
TASKS = {'cub200': 'cub', 'cifar100': 'vtab-cifar100'}
#: The released files as their code reads them. Guided layers, guided tokens, other
#: tokens, prompts' parameters; lr, weight decays of prompts and head; weights of the
#: visual and CLS terms, scale; drop-path, divisor, normalisation, mask.
RELEASED = {
    'vitb_cub200': (
        ((10, 11), 10, 10, 92_160),
        (5e-4, 0.05, 5.0),
        (0.05, 0.05, 5.0),
        (0.1, 8, 'l2', True),
    ),
    'mae_cub200': (
        (range(9, 12), 20, 15, 149_760),
        (5e-3, 0.01, 0.5),
        (0.05, 0.05, 5.0),
        (0.0, 1, 'l2', True),
    ),
    'moco_cub200': (
        ((11,), 20, 40, 353_280),
        (5e-3, 1.0, 0.1),
        (0.1, 0.02, 1.0),
        (0.1, 8, 'l2', False),
    ),
    'vitb_cifar100': (
        (range(3, 12), 20, 20, 184_320),
        (5e-3, 1.0, 20.0),
        (1.0, 0.05, 5.0),
        (0.1, 8, 'none', False),
    ),
    'mae_cifar100': (
        (range(5, 12), 10, 0, 53_760),
        (1e-3, 5.0, 0.5),
        (0.01, 0.1, 5.0),
        (0.1, 8, 'none', False),
    ),
    'moco_cifar100': (
        (range(2, 12), 5, 0, 38_400),
        (5e-3, 5.0, 0.05),
        (0.01, 0.01, 5.0),
        (0.1, 8, 'none', False),
    ),
}
#: Key and value biases of 12 layers, and the class token.
EFFICIENT = 2 * 12 * 768 + 768


def load(method, released):
    backbone, task = released.split('_')
    return Config.fromfile(
        CONFIGS / f'{method}_vit-base-p16_{BACKBONES[backbone]}_{TASKS[task]}.py'
    )


def build(config):
    """Return the model, without memory, and its optimizer wrapper."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        with torch.device('meta'):
            model = MODELS.build(config.model)
        return model, build_optim_wrapper(model, config.optim_wrapper)


def group_sizes(wrapper):
    """Return the numbers of parameters by weight decay."""
    sizes = {}
    for group in wrapper.optimizer.param_groups:
        decay = round(group['weight_decay'], 9)
        size = sum(p.numel() for p in group['params'])
        sizes[decay] = sizes.get(decay, 0) + size
    return sizes


@pytest.mark.parametrize('released', RELEASED)
@pytest.mark.parametrize('method', ['davpt', 'davpt-plus'])
def test_values_of_the_released_file(method, released):
    config = load(method, released)
    model, wrapper = build(config)
    prompt, classes = model.backbone.prompt, model.head.num_classes
    guidance = config.default_hooks.metric_guidance
    tokens, (lr, decay, head_decay), losses, others = RELEASED[released]
    guided, num_guided, num_others, num_prompt = tokens
    drop_path, divisor, normalize, mask = others
    assert prompt.guided_layers == tuple(guided)
    assert (prompt.num_guided_tokens, prompt.num_tokens) == (num_guided, num_others)
    assert sum(p.numel() for p in prompt.parameters()) == num_prompt
    assert (prompt.normalize, prompt.mask) == (normalize, mask)
    assert config.model.backbone.prompt.init_divisor == divisor
    assert prompt.num_classes == classes
    assert model.backbone.layers[-1].ffn.dropout_layer.drop_prob == drop_path
    weights = [guidance.visual_weight, guidance.cls_weight, guidance.loss.scale]
    assert weights == list(losses)

    efficient = EFFICIENT if method == 'davpt-plus' else 0
    head = 769 * classes
    assert count_parameters(model)[0] == num_prompt + efficient + head
    cls_token = 768 if efficient else 0
    assert group_sizes(wrapper) == {
        0.0: efficient - cls_token + classes,
        decay: num_prompt + cls_token,
        head_decay: 768 * classes,
    }
    assert {group['lr'] for group in wrapper.optimizer.param_groups} == {lr}
    assert config.train_dataloader.batch_size == 32
    assert config.train_dataloader.batch_sampler.samples_per_class == 2

    assert model.backbone.norm_before_pool
    mean = 'prompts_and_patches' if released.startswith('mae') else 'cls'
    assert model.backbone.pooling == mean
    name = BACKBONES[released.split('_')[0]]
    assert model.backbone.init_cfg['checkpoint'] == f'mmvpt://vit-base-p16_{name}'


@pytest.mark.parametrize('released', RELEASED)
def test_operands_and_mapping_are_the_papers(released):
    hooks = load('davpt', released).default_hooks
    guidance = HOOKS.build(hooks.metric_guidance)
    mapping = HOOKS.build(hooks.semantic_mapping)
    operands = {name: term[1:] for name, term in guidance.terms.items()}
    assert operands == dict(
        visual=('output', 'prompt_query'), cls=('cls_query', 'prompt_query')
    )
    assert guidance.loss_cfg.get('positives', 'present') == 'present'
    assert (mapping.begin, mapping.interval, mapping.released) == (0, 1, False)
    assert mapping.first_pass['samples_per_class'] is None


def test_released_cub():
    config = load('davpt-released', 'vitb_cub200')
    assert config.optim_wrapper.type == 'AmpOptimWrapper'  # which refuses a CPU
    config.optim_wrapper.type = 'OptimWrapper'
    model, wrapper = build(config)
    assert count_parameters(model)[0] == 312_008
    assert group_sizes(wrapper) == {0.0: 65_480, 0.05: 92_928, 5.0: 153_600}
    guidance = HOOKS.build(config.default_hooks.metric_guidance)
    operands = {name: term[1:] for name, term in guidance.terms.items()}
    assert operands == dict(visual=('patch', 'prompt'), cls=('cls_query', 'prompt'))
    loss = MODELS.build(guidance.loss_cfg)
    assert (loss.positives, loss.scale, loss.alpha, loss.margin) == ('all', 5, 32, 0.1)
    mapping = HOOKS.build(config.default_hooks.semantic_mapping)
    assert mapping.released and mapping.begin == 1
    assert mapping.first_pass['samples_per_class'] == 10
    assert mapping.first_pass['pipeline'] == 'train'


def test_head_starts_as_released():
    config = load('davpt', 'vitb_cub200')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        head = MODELS.build(config.model.head)
    head.init_weights()
    weight = head.fc.weight.detach()
    assert weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not head.fc.bias.any()


@pytest.mark.parametrize(
    ('method', 'released', 'updates'),
    [
        # The first map, then from the second epoch on as released; else every epoch.
        ('davpt-released', 'vitb_cub200', 2),
        ('davpt', 'moco_cub200', 3),
        ('davpt-plus', 'mae_cifar100', 3),
    ],
)
def test_two_epochs_of_a_small_vit(method, released, updates, tmp_path):
    """Metric losses are logged and part of the total; classes are grouped."""
    config = load(method, released)
    make = make_fgvc if released.endswith('cub200') else make_vtab1k
    make(tmp_path / 'data')
    for stage in ('train', 'val', 'test'):
        loader = config[f'{stage}_dataloader']
        loader.dataset.data_root, loader.num_workers = str(tmp_path / 'data'), 0
    backbone = config.model.backbone
    backbone.init_cfg = None
    backbone.arch = dict(
        embed_dims=24, num_layers=12, num_heads=2, feedforward_channels=48
    )
    backbone.patch_size = 56
    config.model.head.in_channels = 24
    config.train_cfg.max_epochs = config.train_cfg.val_interval = 2
    config.param_scheduler.warmup = 1
    config.default_hooks.logger.interval = 1
    if method == 'davpt-released':  # refuses a CPU; ten of the only image of a class
        config.optim_wrapper.type = 'OptimWrapper'
        config.default_hooks.semantic_mapping.samples_per_class = 1
    config.work_dir = str(tmp_path / 'run')
    runner = Runner.from_cfg(config)
    runner.train()

    log = next((tmp_path / 'run').rglob('scalars.json')).read_text().splitlines()
    rows = [row for row in map(json.loads, log) if 'loss' in row]
    assert len(rows) == runner.max_iters
    parts = ('loss_cls', 'loss_metric_visual', 'loss_metric_cls')
    for row in rows:
        assert all(row[part] > 0 for part in parts)
        assert row['loss'] == pytest.approx(sum(row[part] for part in parts), rel=1e-4)
    history = next((tmp_path / 'run').rglob('class_to_prompt.jsonl')).read_text()
    maps = [json.loads(line)['map'] for line in history.splitlines()]
    assert len(maps) == updates
    assert runner.model.backbone.prompt.class_to_prompt.tolist() == maps[-1]
