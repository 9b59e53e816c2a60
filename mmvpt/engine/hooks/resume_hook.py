# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A resumed run goes on as the run that it continues, or is refused."""

from __future__ import annotations

import copy
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmvpt.checkpoint.config_data import to_data
from mmvpt.checkpoint.tuned import META_KEY
from mmvpt.errors import UserError
from mmvpt.registry import HOOKS

#: Parts of a config that a run is made of.
PARTS = ('model', 'data_preprocessor', 'train_dataloader', 'optim_wrapper')
#: Keys anywhere in them that do not change what is computed, or are checked elsewhere
#: (frozen weights by their fingerprint).
FREE = {
    *('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor'),
    *('collate_fn', 'init_cfg', 'test_cfg', 'cache_images'),
    *('loss_scale', 'dtype', 'use_fsdp'),
}
#: Of an optimizer's groups: what training changes, or does not compute with.
VARYING = {
    'params',
    'lr',
    'foreach',
    'fused',
    'capturable',
    'differentiable',
    'maximize',
}
#: Types that differ with the machine, or by --amp, and compute the same.
_AMP = ('AmpOptimWrapper', 'AutocastOptimWrapper')
ALIKE = ({'BN', 'SyncBN'}, {*_AMP}, *({'OptimWrapper', name} for name in _AMP))
#: What starts another run from the weights of this one.
AFRESH = (
    'Give the values of the checkpoint, or start a new run from its weights: another '
    '--work-dir and --cfg-options load_from=CHECKPOINT without --resume.'
)


@HOOKS.register_module()
class ResumeHook(Hook):
    """Compare a resumed run with its checkpoint; plan the schedule of another length.

    Model, optimizer, data and batches must be those of the checkpoint. With another
    ``max_epochs``, ``max_iters`` or ``param_scheduler`` the schedule is planned anew,
    as if the run had been started with it: the learning rate goes on where the new
    schedule is after as many steps. An unchanged run continues bit for bit.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare, and replace the state of the schedule if it is another one."""
        meta = checkpoint.get('meta', {})
        if not runner._resume or 'epoch' not in meta:
            return
        if META_KEY not in meta:
            _compare_optimizers(runner, checkpoint)
            return
        old = json.loads(meta[META_KEY])['config']
        new = json.loads(json.dumps(to_data(runner.cfg.to_dict())))
        differing = [
            text
            for part in PARTS
            for text in _differing(old.get(part), new.get(part), part)
        ]
        if differing:
            raise UserError(
                'the run to resume is another one than this config: '
                f'{"; ".join(differing[:5])}{" ..." * (len(differing) > 5)}. {AFRESH}'
            )
        loop = runner.train_loop
        unit = 'epoch' if isinstance(loop, EpochBasedTrainLoop) else 'iter'
        _check_position(runner, meta, unit)
        keys = ('param_scheduler', f'train_cfg.max_{unit}s')
        changed = [
            text
            for key in keys
            for text in _differing(_get(old, key), _get(new, key), key)
        ]
        if changed:
            _plan_anew(runner, checkpoint, '; '.join(changed))


def _compare_optimizers(runner: Runner, checkpoint: Mapping) -> None:
    """Compare with a checkpoint that does not tell its config."""
    saved = (checkpoint.get('optimizer') or {}).get('param_groups')
    own = getattr(runner.optim_wrapper, 'param_groups', None)
    if saved is None or own is None:
        return
    pairs = [
        [{k: v for k, v in group.items() if k not in VARYING} for group in groups]
        for groups in (saved, own)
    ]
    differing = list(_differing(to_data(pairs[0]), to_data(pairs[1]), 'optimizer'))
    if differing:
        raise UserError(
            'the run to resume is another one than this config: '
            f'{"; ".join(differing[:5])}. {AFRESH}'
        )


def _check_position(runner: Runner, meta: Mapping, unit: str) -> None:
    """Refuse a shorter run, or one whose epochs have another length."""
    loop, done = runner.train_loop, meta[unit]
    total = getattr(loop, f'max_{unit}s', None)
    if total is not None and done > total:
        raise UserError(
            f'train_cfg.max_{unit}s={total}, but the checkpoint has {done} {unit}s '
            f'behind it. Set {done} or more.'
        )
    length = len(loop.dataloader) if unit == 'epoch' else None
    if length and not meta['epoch'] <= meta['iter'] / length <= meta['epoch'] + 1:
        raise UserError(
            f'an epoch has {length} iterations, but the checkpoint made {meta["iter"]} '
            f'in {meta["epoch"]} epochs: images, train_dataloader.batch_size or the '
            f'number of processes are others. {AFRESH}'
        )


def _plan_anew(runner: Runner, checkpoint: dict, changed: str) -> None:
    """Put the schedule where it would be had the run been started with it."""
    meta = checkpoint['meta']
    schedulers, optimizer = runner.param_schedulers or [], runner.optim_wrapper
    if not isinstance(schedulers, list) or not hasattr(optimizer, 'param_groups'):
        raise UserError(f'{changed}: such schedules cannot be planned anew. {AFRESH}')
    length = max(1, len(runner.train_loop.dataloader))
    names = {scheduler.param_name for scheduler in schedulers} | {'lr', 'initial_lr'}
    saved = checkpoint['optimizer']['param_groups']
    before = [group['lr'] for group in saved]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the optimizer makes no steps meanwhile
        _step(schedulers, meta['iter'], meta['epoch'], length)
    states = [copy.deepcopy(scheduler.state_dict()) for scheduler in schedulers]
    groups = optimizer.param_groups
    rates = [group['lr'] for group in groups]
    initial = [group.get('initial_lr', group['lr']) for group in groups]
    if not any(rate > 1e-6 * first for rate, first in zip(rates, initial)):
        raise UserError(
            f'{changed}: the new param_scheduler has a learning rate of '
            f'{max(rates):.2g} from here on, so nothing would be learned. Plan it for '
            'the new length (T_max, end, milestones), or start a new run.'
        )
    for group, planned in zip(saved, groups):
        group.update({name: planned[name] for name in names if name in planned})
    checkpoint['param_schedulers'] = states
    runner.logger.warning(
        f'{changed}. The schedule (param_scheduler) is planned anew, as if the run had '
        f'been started with it: the learning rate goes on at {max(rates):.4g} (it was '
        f'{max(before):.4g}).'
    )


def _step(schedulers: list, iters: int, epochs: int, length: int) -> None:
    """Make the steps that a training makes in so many iterations and epochs."""
    by_iter = [s for s in schedulers if not s.by_epoch]
    by_epoch = [s for s in schedulers if s.by_epoch]
    done = 0
    for i in range(1, iters + 1):
        for scheduler in by_iter:
            scheduler.step()
        if done < epochs and i % length == 0:
            done += 1
            for scheduler in by_epoch:
                scheduler.step()


def _get(config: Mapping, key: str) -> Any:
    found: Any = config
    for name in key.split('.'):
        found = (found or {}).get(name)
    return found


def _differing(old: Any, new: Any, place: str) -> Iterator[str]:
    """Word where two configs, as data, differ in what a run computes."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            if key not in FREE:
                yield from _differing(old.get(key), new.get(key), f'{place}.{key}')
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (one, other) in enumerate(zip(old, new)):
            yield from _differing(one, other, f'{place}.{i}')
    elif not _same(old, new):
        yield f'{place} is {_short(new)}, in the checkpoint {_short(old)}'


def _same(old: Any, new: Any) -> bool:
    if old == new or not (isinstance(old, str) and isinstance(new, str)):
        return old == new
    names = {text.rpartition('.')[2] for text in (old, new)}
    return names in ALIKE or os.path.realpath(old) == os.path.realpath(new)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f'{text[:77]}...'
