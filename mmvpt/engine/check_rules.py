# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What must hold in a config, and in a runner before it trains, beyond signatures."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.evaluator import Evaluator
from mmengine.registry import EVALUATOR
from mmengine.runner import Runner
from mmengine.structures import PixelData
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from mmvpt.datasets.samplers import SeededInfiniteSampler
from mmvpt.errors import UserError, similar

from .forward import unwrapped

Problems = Iterator[tuple[str, str]]

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_HEADS = ('head', 'decode_head', 'auxiliary_head')
#: In the names of heads that classify masks: these have a class for no mask as well.
_MASKS = ('MaskFormer', 'Mask2Former', 'SideAdapter')
_TO_ZERO = ('CosineAnnealingLR', 'PolyLR')
_REFUSALS = (LookupError, TypeError, ValueError, AssertionError, RuntimeError)
#: Where the metrics are that work on what is invented here.
_METRICS = ('mmpretrain.evaluation', 'mmseg.evaluation')
#: Mixes of images and their labels, which must be scores of all classes.
_MIXES = ('Mixup', 'CutMix', 'ResizeMix')


def loaders(config: Config) -> Problems:
    """Batches and workers of data loaders are counts, and fit each other."""
    for field in _LOADERS:
        loader = config.get(field)
        if not loader:
            continue
        if 'batch_size' in loader:
            yield from _count(loader.batch_size, f'{field}.batch_size')
        workers = loader.get('num_workers', 0)
        yield from _count(workers, f'{field}.num_workers', 0)
        if workers == 0:
            for key in ('persistent_workers', 'prefetch_factor'):
                if loader.get(key):
                    yield (
                        f'{field}.{key}',
                        f'is {loader[key]}, which needs workers, but num_workers is 0. '
                        f'Set {field}.num_workers to 1 or more, or leave {key} out.',
                    )


def lengths(config: Config) -> Problems:
    """Lengths of trainings and sizes of backbones are counts."""
    loop = config.get('train_cfg') or {}
    for key in ('max_epochs', 'max_iters', 'val_begin'):
        if key in loop:
            yield from _count(loop[key], f'train_cfg.{key}')
    seed = (config.get('randomness') or {}).get('seed')
    if seed is not None:
        yield from _count(seed, 'randomness.seed', 0)
    arch = ((config.get('model') or {}).get('backbone') or {}).get('arch')
    for key, value in arch.items() if isinstance(arch, Mapping) else ():
        if key in ('embed_dims', 'num_layers', 'num_heads', 'feedforward_channels'):
            yield from _count(value, f'model.backbone.arch.{key}')
    for place, text in _count(loop.get('val_interval', 1), 'train_cfg.val_interval'):
        yield place, f'{text} To train without validation add --no-validate.'


def schedule(config: Config) -> Problems:
    """The learning rate is not 0 for the rest of a training."""
    loop, steps = config.get('train_cfg') or {}, config.get('param_scheduler') or []
    epochs = loop.get('max_epochs')
    total = epochs or loop.get('max_iters')
    steps = [steps] if isinstance(steps, Mapping) else list(steps)
    steps = [s for s in steps if isinstance(s, Mapping)]
    ends = [s.get('end') for s in steps if s.get('by_epoch', True) == bool(epochs)]
    if not isinstance(total, int) or not ends or len(ends) < len(steps):
        return
    if not all(isinstance(end, int) for end in ends):
        return
    last = steps[ends.index(max(ends))]
    name = str(last.get('type')).rpartition('.')[2]
    floor = last.get('eta_min') or last.get('eta_min_ratio')
    if name in _TO_ZERO and not floor and max(ends) < total:
        unit = 'epochs' if epochs else 'iters'
        yield (
            'param_scheduler',
            f'{name} ends at end={max(ends)} with a learning rate of 0, but '
            f'train_cfg.max_{unit}={total}: nothing would be learned in the rest. Set '
            f'end (and T_max) for {total}, or eta_min.',
        )


def heads(config: Config) -> Problems:
    """Losses weigh as many classes as their head has."""
    for place, head in _heads(config):
        classes = head.get('num_classes')
        if classes is None or any(m in str(head.get('type')) for m in _MASKS):
            continue
        yield from _count(classes, f'{place}.num_classes')
        for inner, weights in _find(head, 'class_weight', place):
            if isinstance(weights, (list, tuple)) and len(weights) != classes:
                yield (
                    inner,
                    f'has {len(weights)} numbers, {list(weights)}, but {place} has '
                    f'{classes} classes: give {classes} numbers.',
                )


def sliding(config: Config) -> Problems:
    """A sliding window has a size and a stride."""
    test = (config.get('model') or {}).get('test_cfg')
    if not isinstance(test, Mapping):
        return
    mode = test.get('mode', 'whole')
    if config.get('default_scope') == 'mmseg' and mode not in ('whole', 'slide'):
        yield 'model.test_cfg.mode', f"must be 'whole' or 'slide', got {mode!r}"
    for key in ('crop_size', 'stride') if mode == 'slide' else ():
        size = test.get(key)
        fits = isinstance(size, (list, tuple)) and len(size) == 2
        if not (fits and all(isinstance(n, int) and n > 0 for n in size)):
            yield (
                f'model.test_cfg.{key}',
                f"mode='slide' needs {key}=(height, width) in pixels, such as "
                f'(512, 512), got {size!r}',
            )


def mixing(config: Config) -> Problems:
    """Mixup and CutMix know the number of classes."""
    model = config.get('model') or {}
    preprocessor = config.get('data_preprocessor') or model.get('data_preprocessor')
    preprocessor = preprocessor or {}
    for place, owner in (
        ('model.train_cfg.augments', (model.get('train_cfg') or {}).get('augments')),
        (
            'data_preprocessor.batch_augments.augments',
            (preprocessor.get('batch_augments') or {}).get('augments'),
        ),
    ):
        augments = owner if isinstance(owner, (list, tuple)) else [owner or {}]
        names = [str(a.get('type')) for a in augments if isinstance(a, Mapping)]
        mixes = [name for name in names if name.rpartition('.')[2] in _MIXES]
        if mixes and preprocessor.get('num_classes') is None:
            classes = [head.get('num_classes') for _, head in _heads(config)]
            yield (
                place,
                f'{" and ".join(mixes)} mixes labels, which needs '
                'data_preprocessor.num_classes'
                + (f': set it to {classes[0]}, that of the head.' if classes else '.'),
            )


def metrics(config: Config) -> Problems:
    """Evaluators can work, and ``save_best`` names one of their metrics.

    The evaluators of both scopes are tried on two invented results.
    """
    for field in ('val_evaluator', 'test_evaluator'):
        settings = config.get(field)
        if not settings:
            continue
        try:
            names = _metric_names(config, settings)
        except _REFUSALS as error:
            text = str(error.args[0] if error.args else error)
            yield field, f'cannot evaluate: {" ".join(text.split())}'
            continue
        if field == 'val_evaluator' and names:
            yield from _best(config, names)


def _best(config: Config, names: list[str]) -> Problems:
    hooks = dict(config.get('default_hooks') or {})
    hooks = [(f'default_hooks.{key}', hook) for key, hook in hooks.items()]
    hooks += [
        (f'custom_hooks.{i}', hook)
        for i, hook in enumerate(config.get('custom_hooks') or [])
    ]
    for place, hook in hooks:
        for key in ('save_best', 'monitor'):
            wanted = (hook or {}).get(key) if isinstance(hook, Mapping) else None
            for name in [wanted] if isinstance(wanted, str) else wanted or ():
                if name != 'auto' and name not in names:
                    yield (
                        f'{place}.{key}',
                        f'{key}={name!r}, but the validation gives '
                        f'{", ".join(names)}.{similar(str(name), names)}',
                    )


def _metric_names(config: Config, settings: Any) -> list[str] | None:
    """Return what an evaluator gives for invented results; None if it needs others."""
    classes = [head.get('num_classes') for _, head in _heads(config)]
    if not classes or not classes[0]:
        return None
    settings = copy.deepcopy(settings)
    for part in settings if isinstance(settings, (list, tuple)) else [settings]:
        part.pop('output_dir', None)
    if config.get('default_scope') == 'mmseg':
        samples = [_segmented(classes[0])]
    elif config.get('default_scope') == 'mmpretrain':
        samples = [_classified(classes[0], i) for i in range(2)]
    else:
        return None
    logging.disable(logging.CRITICAL)  # tables of what was invented
    try:
        if isinstance(settings, Mapping) and 'metrics' in settings:
            evaluator = EVALUATOR.build(settings)
        else:
            evaluator = Evaluator(settings)
        if not all(type(m).__module__.startswith(_METRICS) for m in evaluator.metrics):
            return None
        evaluator.dataset_meta = dict(classes=[str(i) for i in range(classes[0])])
        evaluator.process(data_samples=samples)
        return list(evaluator.evaluate(len(samples)))
    except AttributeError:
        return None  # of another task
    finally:
        logging.disable(logging.NOTSET)


def _classified(classes: int, label: int) -> Any:
    from mmpretrain.structures import DataSample

    label %= classes
    scores = torch.full((classes,), 1 / classes)
    one_hot = torch.zeros(classes).index_fill_(0, torch.tensor([label]), 1.0)
    sample = DataSample().set_gt_label([label]).set_gt_score(one_hot)
    return sample.set_pred_score(scores).set_pred_label([label])


def _segmented(classes: int) -> Any:
    from mmengine.structures import BaseDataElement

    labels = PixelData(data=torch.arange(4).view(1, 2, 2) % classes)
    return BaseDataElement(gt_sem_seg=labels, pred_sem_seg=labels)


#: Each yields places of a config and what is wrong there.
RULES = (loaders, lengths, schedule, heads, sliding, mixing, metrics)


def check_runner(runner: Runner) -> None:
    """Refuse a training that could not run to its end; builds loops and data."""
    loops = {'train': runner.train_loop}
    if runner.val_loop is not None:
        loops['val'] = runner.val_loop
    for stage, loop in loops.items():
        loader = loop.dataloader
        if isinstance(loader, DataLoader):
            _check_batches(f'{stage}_dataloader', loader, runner.model)
    _check_channels(runner.model)


def _check_batches(field: str, loader: DataLoader, model: nn.Module) -> None:
    images, size = len(loader.sampler), loader.batch_size
    endless = (InfiniteSampler, SeededInfiniteSampler)
    if size is None or isinstance(loader.sampler, endless):
        images = size
    elif len(loader) == 0:
        raise UserError(
            f'{field} yields no batch: {len(loader.dataset)} images, batch_size={size}'
            f', drop_last={loader.drop_last}. Set a smaller {field}.batch_size, or '
            'drop_last=False.'
        )
    if field != 'train_dataloader' or size is None or loader.drop_last:
        return
    norm = _norm_over_images(model) if images % size == 1 or size == 1 else None
    if norm is not None:
        raise UserError(
            f'{field}: {len(loader.dataset)} images in batches of batch_size={size} '
            f'leave a batch of 1, and {norm} normalises over the images of a batch, '
            f'which needs 2 or more. Set another {field}.batch_size, or '
            f'{field}.drop_last=True.'
        )


def _norm_over_images(model: nn.Module) -> str | None:
    """Name a batch norm that sees one value per channel and image.

    That is one of vectors, or one behind pooling to a single place.
    """
    if torch.distributed.is_initialized() and any(
        isinstance(m, nn.SyncBatchNorm) for m in model.modules()
    ):
        return None
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm1d) and module.affine is not None:
            return f'{name} (BatchNorm1d)'
        if isinstance(module, nn.Sequential) and any(
            isinstance(m, nn.AdaptiveAvgPool2d) and m.output_size in (1, (1, 1))
            for m in module
        ):
            inner = [m for m in module.modules() if isinstance(m, _BatchNorm)]
            if inner:
                return f'{name} ({type(inner[0]).__name__} behind pooling to 1 x 1)'
    return None


def _check_channels(model: nn.Module) -> None:
    model = unwrapped(model)
    width = getattr(getattr(model, 'backbone', None), 'embed_dims', None)
    if width is None or getattr(model, 'neck', None) is not None:
        return
    for field in _HEADS:
        found = getattr(model, field, None)
        for head in found if isinstance(found, nn.ModuleList) else [found]:
            given = getattr(head, 'in_channels', None)
            channels = given if isinstance(given, (list, tuple)) else [given]
            if any(isinstance(n, int) and n != width for n in channels):
                raise UserError(
                    f'model.{field}.in_channels is {given}, but model.backbone has '
                    f'{width} channels (embed_dims): set {width} in its place.'
                )


def _count(value: Any, place: str, least: int = 1) -> Problems:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        yield place, f'must be an integer of at least {least}, got {value!r}.'


def _heads(config: Config) -> Iterator[tuple[str, Mapping]]:
    model = config.get('model') or {}
    for key in _HEADS:
        found = model.get(key)
        if isinstance(found, Mapping):
            yield f'model.{key}', found
        elif isinstance(found, (list, tuple)):
            for i, head in enumerate(found):
                if isinstance(head, Mapping):
                    yield f'model.{key}.{i}', head


def _find(value: Any, key: str, place: str) -> Iterator[tuple[str, Any]]:
    """Yield every place in ``value`` that has ``key``, with what is there."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name == key:
                yield f'{place}.{name}', item
            else:
                yield from _find(item, key, f'{place}.{name}')
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _find(item, key, f'{place}.{i}')
