# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What must hold in a config, and in a runner before it trains, beyond signatures."""

from __future__ import annotations

import copy
import logging
import math
import operator
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
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
#: Fields with numbers that a run reads.
_NUMERIC = {'model', 'data_preprocessor', 'optim_wrapper', 'param_scheduler'}
_NUMERIC |= {'default_hooks', 'custom_hooks', 'train_cfg', *_LOADERS}
#: What ends the pipelines of a scope.
_PACKS = dict(mmpretrain='PackInputs', mmseg='PackSegInputs')
#: How YAML and JSON write numbers that they read as text.
_SCIENTIFIC = re.compile(r'[-+]?\d+(\.\d*)?[eE][-+]?\d+')
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
        for place, chosen in find(loader, 'indices', field):
            if chosen is not None and chosen in (0, [], ()):
                yield place, f'is {chosen}, which leaves no image: no batch comes.'
        if loader.get('drop_last') and field != 'train_dataloader':
            yield (
                f'{field}.drop_last',
                'is True, so that the last images would be left out of the metrics. '
                'Leave it out.',
            )
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
    begin = loop.get('val_begin', 1)
    total = loop.get('max_epochs', loop.get('max_iters'))
    whole = isinstance(total, int) and isinstance(begin, int) and total > 0
    if config.get('val_dataloader') and whole and begin > total:
        yield (
            'train_cfg.val_begin',
            f'is {begin}, but training ends at {total}: it would never be validated. '
            f'Set {total} at most, or train with --no-validate.',
        )
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
    """Periods are counts, and the learning rate is not 0 for the rest of a training."""
    steps = config.get('param_scheduler') or []
    for place, period in find(steps, 'T_max', 'param_scheduler'):
        yield from _count(period, place)
    yield from _stuck(config)


def _stuck(config: Config, length: int | None = None) -> Problems:
    """Find a schedule that ends at 0 too early.

    Args:
        config: The config.
        length: Iterations of an epoch, if they are known.
    """
    loop, steps = config.get('train_cfg') or {}, config.get('param_scheduler') or []
    epochs = loop.get('max_epochs')
    total = epochs or loop.get('max_iters')
    steps = [steps] if isinstance(steps, Mapping) else list(steps)
    steps = [s for s in steps if isinstance(s, Mapping)]
    ends = [s.get('end') for s in steps]
    units = {bool(s.get('by_epoch', True)) for s in steps}
    if not isinstance(total, int) or not all(isinstance(end, int) for end in ends):
        return
    if units == {False} and epochs and length is not None:
        total *= length
    elif units != {bool(epochs)}:
        return
    last = steps[ends.index(max(ends))]
    name = str(last.get('type')).rpartition('.')[2]
    floor = last.get('eta_min') or last.get('eta_min_ratio')
    zero = name in _TO_ZERO and not floor or last.get('end_factor') == 0
    if zero and max(ends) < total:
        unit = 'epochs' if units == {True} else 'iterations'
        key = 'max_epochs' if epochs else 'max_iters'
        yield (
            'param_scheduler',
            f'{name} ends at end={max(ends)} with a learning rate of 0, but '
            f'train_cfg.{key}={loop[key]} is {total} {unit}: nothing would be learned '
            f'in the rest. Set end (and T_max) for {total}, or eta_min.',
        )


def heads(config: Config) -> Problems:
    """Losses weigh as many classes as their head has."""
    for place, head in _heads(config):
        classes = head.get('num_classes')
        if classes is None or any(m in str(head.get('type')) for m in _MASKS):
            continue
        yield from _count(classes, f'{place}.num_classes')
        yield from _count(head.get('channels', 1), f'{place}.channels')
        for key in ('threshold', 'thr'):
            limit = head.get(key)
            if isinstance(limit, (int, float)) and not 0 < limit < 1:
                yield f'{place}.{key}', f'must be between 0 and 1, got {limit!r}.'
        if head.get('loss_decode') in ([], ()):
            yield f'{place}.loss_decode', 'is empty: nothing would be learned.'
        for inner, count in find(head.get('loss'), 'num_classes', f'{place}.loss'):
            if count not in (None, classes):
                yield inner, f'is {count}, but {place} has {classes} classes.'
        for inner, weights in find(head, 'class_weight', place):
            if isinstance(weights, (list, tuple)) and len(weights) != classes:
                yield (
                    inner,
                    f'has {len(weights)} numbers, {list(weights)}, but {place} has '
                    f'{classes} classes: give {classes} numbers.',
                )
            elif isinstance(weights, (int, float, list, tuple)):
                yield from _numbers(weights, inner, classes)
            elif isinstance(weights, str) and not Path(weights).is_file():
                yield inner, f'must be {classes} numbers, or a file that is there.'


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
            return
    if mode == 'slide' and any(map(operator.gt, test['stride'], test['crop_size'])):
        yield (
            'model.test_cfg.stride',
            f'is {test["stride"]}, more than crop_size={test["crop_size"]}: pixels '
            'between the windows would be left out.',
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
        for name in augments:
            if isinstance(name, str):
                yield (
                    place,
                    f'must hold dicts, such as dict(type={name!r}), got {name!r}.',
                )
        mixes = [name for name in names if name.rpartition('.')[2] in _MIXES]
        classes = [head.get('num_classes') for _, head in _heads(config)] or [None]
        if mixes and preprocessor.get('num_classes') not in {*classes} - {None}:
            yield (
                place,
                f'{" and ".join(mixes)} mixes labels, which needs '
                'data_preprocessor.num_classes: set it to '
                f'{classes[0] or "the number of classes"}, that of the head.',
            )


def normalization(config: Config) -> Problems:
    """Mean and std are one number for each channel, no std is 0; padding is clear."""
    model = config.get('model') or {}
    field = 'model.data_preprocessor'
    settings = model.get('data_preprocessor')
    if not settings:
        field, settings = 'data_preprocessor', config.get('data_preprocessor') or {}
    channels = (model.get('backbone') or {}).get('in_channels', 3)
    for key in ('mean', 'std'):
        values = settings.get(key)
        if values is not None:
            least = None if key == 'mean' else 1e-12
            yield from _numbers(values, f'{field}.{key}', channels, least, (1,))
    size, divisor = settings.get('size'), settings.get('size_divisor')
    pads = str(settings.get('type')).endswith('SegDataPreProcessor')
    if pads and config.get('train_dataloader') and (size is None) == (divisor is None):
        yield (
            field,
            f'pads images of a batch to size={size!r} or to multiples of '
            f'size_divisor={divisor!r}: give one of the two.',
        )
    elif pads and size is not None:
        yield from _numbers(size, f'{field}.size', 2, 1)


def numbers(config: Config) -> Problems:
    """A number is no text, as 1e-3 is in YAML, and no NaN."""
    read = {k: v for k, v in config._cfg_dict.to_dict().items() if k in _NUMERIC}
    for place, value in _leaves(read, ''):
        if isinstance(value, str) and _SCIENTIFIC.fullmatch(value):
            yield (
                place,
                f'is the text {value!r}: write {float(value)!r} without quotes (in '
                'YAML 1.0e-3, not 1e-3).',
            )
        elif isinstance(value, float) and math.isnan(value):
            yield place, 'is NaN, which is no number.'


def pipelines(config: Config) -> Problems:
    """What comes out of a pipeline goes into the model."""
    pack = _PACKS.get(config.get('default_scope'))
    if pack is None or config.get('custom_imports'):
        return
    for field in _LOADERS:
        for place, steps in find(config.get(field), 'pipeline', field):
            names = [str(value) for key, value in _leaves(steps, '') if 'type' in key]
            if not any('Pack' in name for name in names):
                given = ', '.join(names) or 'no transform'
                yield (
                    place,
                    f'gives no inputs for the model, with {given}: end it with {pack}.',
                )


def metrics(config: Config) -> Problems:
    """Evaluators can work, and ``save_best`` names one of their metrics.

    The evaluators of both scopes are tried on two invented results.
    """
    for field in ('val_evaluator', 'test_evaluator'):
        settings = config.get(field)
        if not settings:
            continue
        for place, ranks in find(settings, 'topk', field):
            for rank in ranks if isinstance(ranks, (list, tuple)) else [ranks or 1]:
                yield from _count(rank, place)
        try:
            names = _metric_names(config, settings)
        except _REFUSALS as error:
            text = str(error.args[0] if error.args else error)
            yield field, f'cannot evaluate: {" ".join(text.split())}'
            continue
        if names == []:
            yield field, f'measures nothing: {settings}'
        if field == 'val_evaluator' and names:
            yield from _best(config, names)


def _best(config: Config, names: list[str]) -> Problems:
    named = dict(config.get('default_hooks') or {})
    hooks = [(f'default_hooks.{key}', hook) for key, hook in named.items()]
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
RULES = (
    *(loaders, lengths, schedule, heads, sliding, mixing),
    *(normalization, numbers, pipelines, metrics),
)


def check_runner(runner: Runner) -> None:
    """Refuse a training that could not run to its end; builds loops and data."""
    loops = {'train': runner.train_loop}
    if runner.val_loop is not None:
        loops['val'] = runner.val_loop
    for stage, loop in loops.items():
        loader = loop.dataloader
        if isinstance(loader, DataLoader):
            _check_batches(f'{stage}_dataloader', loader, runner.model)
    for place, text in _stuck(runner.cfg, len(runner.train_loop.dataloader)):
        raise UserError(f'{place}: {text}')
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
            levels = len(model.backbone.out_indices)
            chosen = getattr(head, 'in_index', 0)
            indices = chosen if isinstance(chosen, (list, tuple)) else [chosen]
            if not all(-levels <= i < levels for i in indices):
                raise UserError(
                    f'model.{field}.in_index is {chosen}, but model.backbone gives '
                    f'{levels} outputs (out_indices), counted from 0.'
                )


def _count(value: Any, place: str, least: int = 1) -> Problems:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        yield place, f'must be an integer of at least {least}, got {value!r}.'


def _numbers(
    values: Any,
    place: str,
    count: int,
    least: float | None = 0,
    others: tuple[int, ...] = (),
) -> Problems:
    """Find what is no list of so many numbers of at least ``least``."""
    fits = isinstance(values, (list, tuple)) and len(values) in (count, *others)
    if not fits or not all(
        isinstance(v, (int, float)) and (least is None or v >= least) for v in values
    ):
        above = ' above 0' if least else '' if least is None else ', none negative'
        yield place, f'must be {count} numbers{above}, got {values!r}.'


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield what is at the ends of dicts and lists; names of classes are left out."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in ('metainfo', 'classes'):
                yield from _leaves(item, f'{place}.{key}' if place else str(key))
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _leaves(item, f'{place}.{i}')
    else:
        yield place, value


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


def find(value: Any, key: str, place: str) -> Iterator[tuple[str, Any]]:
    """Yield every place in ``value`` that has ``key``, with what is there."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name == key:
                yield f'{place}.{name}', item
            else:
                yield from find(item, key, f'{place}.{name}')
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from find(item, key, f'{place}.{i}')
