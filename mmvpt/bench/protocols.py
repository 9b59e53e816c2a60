# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Evaluation protocols: what trains, what selects, and when test data is read."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config, ConfigDict
from mmengine.fileio import load

from mmvpt.errors import UserError, require_known

SELECTIONS = ('last', 'best-val', 'best-test')


class Splits(NamedTuple):
    """What a data set calls its parts."""

    train: str
    val: str
    both: str  # train and val together


#: Data sets whose ``split`` a protocol sets, and their family.
SPLITS = {
    'mmvpt.VTAB1k': Splits('train800', 'val200', 'train800val200'),
    'mmvpt.FGVC': Splits('train', 'val', 'trainval'),
}
FAMILIES = {'mmvpt.VTAB1k': 'vtab', 'mmvpt.FGVC': 'fgvc'}


@dataclass(frozen=True)
class Protocol:
    """How a figure comes about; recorded with every figure.

    The search always trains on the training split and is judged on the validation
    split. In both stages the config loses its test data before anything is built, so
    that only the test at the end can read it. The exception is ``best-test``.
    """

    name: str
    summary: str
    source: str
    searches: bool  # may settings be searched for, task by task
    selection: str  # which epoch's model counts: one of SELECTIONS
    seeds: tuple[int, ...]  # of the final trainings
    #: what the final training reads, by family: 'train', or 'both' for train and val
    final: Mapping[str, str] = field(default_factory=dict)
    validates: bool = False  # whether the final training looks at validation data

    @property
    def leak_free(self) -> bool:
        """Whether test data chooses nothing."""
        return self.selection != 'best-test'

    @property
    def label(self) -> str:
        """What tables print beside every figure: '' or 'test-selected'."""
        return '' if self.leak_free else 'test-selected'

    def test_reads(self, stage: str) -> str:
        """Return how often a stage, 'search' or 'final', reads test data."""
        if stage == 'search':
            return 'never'
        return 'once' if self.leak_free else 'every epoch'


PROTOCOLS = {
    name: Protocol(name, **{**about, 'seeds': tuple(about['seeds'])})
    for name, about in load(Path(__file__).with_suffix('.yml')).items()
}


def get_protocol(name: str) -> Protocol:
    """Return a protocol by name.

    Raises:
        UserError: If there is none of that name.
    """
    require_known('protocol', [name], PROTOCOLS)
    return PROTOCOLS[name]


def metric_of(config: Config) -> str:
    """Return the metric that selects: top-1 accuracy or mIoU.

    Raises:
        UserError: If the evaluators have neither.
    """
    known = dict(Accuracy='accuracy/top1', IoUMetric='mIoU')
    found = []
    for stage in ('test', 'val'):
        evaluators = config.get(f'{stage}_evaluator') or []
        evaluators = [evaluators] if isinstance(evaluators, dict) else evaluators
        found += [str(item.get('type')) for item in evaluators]
    for name in found:
        short = name.rpartition('.')[2]
        if short in known:
            return known[short]
    raise UserError(
        f'no metric to select by: the evaluators are {found or "missing"}, known are '
        f'{", ".join(known)}. Name the metric in the suite (metric=...).'
    )


def apply_protocol(config: Config, protocol: Protocol, stage: str, metric: str) -> None:
    """Give a config the data and the selection of one stage.

    Args:
        config: Changed in place. Its test fields are gone afterwards.
        protocol: The protocol.
        stage: 'search' or 'final'.
        metric: What the epoch is chosen by, where one is chosen.

    Raises:
        UserError: If the protocol does not fit: no search, no validation split, or a
            data set whose splits are unknown.
    """
    if stage not in ('search', 'final'):
        raise UserError(f"stage must be 'search' or 'final', got {stage!r}")
    if stage == 'search' and not protocol.searches:
        raise UserError(
            f'protocol {protocol.name!r} searches nothing. Choose one that does: '
            f'{", ".join(p.name for p in PROTOCOLS.values() if p.searches)}.'
        )
    for key in ('load_from', 'resume'):
        if config.get(key):
            raise UserError(
                f'{key} is set in the config: a recorded run starts from the weights '
                'in init_cfg, so that it is known what has been seen. Remove it.'
            )
    test = {key: config.get(f'test_{key}') for key in ('dataloader', 'evaluator')}
    kind = str(config.train_dataloader.dataset.get('type'))
    splits = SPLITS.get(kind)
    if stage == 'search' and splits and not protocol.validates:
        # a config without validation, such as one for all images
        if config.get('val_dataloader') is None and test['dataloader'] is not None:
            _validate_as_test(config, test)
            config.val_dataloader.dataset.split = splits.val
    for key in ('dataloader', 'evaluator', 'cfg'):
        config[f'test_{key}'] = None
    family = FAMILIES.get(kind, '')
    part = 'train' if stage == 'search' else protocol.final.get(family, 'train')
    if splits and not protocol.validates:  # else the splits are the config's
        config.train_dataloader.dataset.split = getattr(splits, part)
    elif part == 'both':
        raise UserError(
            f'protocol {protocol.name!r} trains on train and val together, and of '
            f"data set {kind} it is not known what that is. Use protocol 'own'."
        )
    checkpoints = config.get('default_hooks', {}).get('checkpoint')
    selects = bool(checkpoints and checkpoints.get('save_best'))
    if stage == 'final' and protocol.selection == 'best-test':
        _select_on_test(config, test, metric)
    elif stage == 'search' or protocol.validates:
        if config.get('val_dataloader') is None:
            raise UserError(
                'no validation split: the config has no val_dataloader, and test data '
                'may choose nothing. Give it one, or use a protocol that needs none '
                "('single-recipe')."
            )
        if stage == 'final' and protocol.selection == 'best-val':
            _save_best(config, metric)
        elif stage == 'final' and selects:
            raise UserError(
                'the checkpoint hook has save_best, but by protocol '
                f'{protocol.name!r} the last epoch counts. Remove it, or use protocol '
                "'own-best-val'."
            )
    else:
        config.val_dataloader = config.val_evaluator = config.val_cfg = None
        if selects:
            checkpoints.pop('save_best')
    if stage == 'search':
        config.setdefault('default_hooks', ConfigDict()).checkpoint = None


def _validate_as_test(config: Config, test: dict) -> None:
    config.val_dataloader = copy.deepcopy(test['dataloader'])
    config.val_evaluator = copy.deepcopy(test['evaluator'])
    config.val_cfg = ConfigDict()


def _select_on_test(config: Config, test: dict, metric: str) -> None:
    """Let the test data choose the epoch, as released code does."""
    if test['dataloader'] is None:
        raise UserError('the config has no test_dataloader to select on')
    _validate_as_test(config, test)
    loop = config.train_cfg
    loop.val_interval = 1
    if loop.get('max_epochs'):  # the release looks at the late epochs
        loop.val_begin = max(1, round(0.8 * loop.max_epochs))
    _save_best(config, metric)


def _save_best(config: Config, metric: str) -> None:
    hooks = config.setdefault('default_hooks', ConfigDict())
    hook = hooks.get('checkpoint') or ConfigDict(type='mmvpt.AtomicCheckpointHook')
    hook.save_best, hook.rule = metric, 'greater'
    hooks.checkpoint = hook
