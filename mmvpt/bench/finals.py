# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The final training of a record: train, test once at the end, write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmvpt.checkpoint import read_checkpoint
from mmvpt.display import quiet
from mmvpt.engine.run import load_config, test, train
from mmvpt.engine.work_dir import last_checkpoint
from mmvpt.errors import UserError
from mmvpt.models.tunable import count_parameters

from . import describe_code, describe_config, get_protocol, write_json, write_record
from .console import console
from .hooks import MeasuringHook
from .protocol_config import (
    config_digest,
    device_name,
    files_of_run,
    protocol_config,
    training_length,
)
from .provenance import fingerprint
from .records import kept_record, now, plain, record_head


def run_final(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Train by a protocol, test once at the end, and write the record.

    A record that is there and has the same fingerprint is returned as it is; one with
    another is set aside. An interrupted training is continued where that is exact.

    Args:
        spec: The fields of ``NAMES``, ``options``, ``settings`` (chosen by a search),
            ``protocol``, ``seed``, ``seeds``, ``work_dir``, ``record``,
            ``accepted_duplicates``, ``predictions``.

    Returns:
        The record.

    Raises:
        LeakError: If test data would choose something that the protocol rules out.
    """
    spec = dict(spec)
    for part in ('options', 'settings'):  # a space may vary the seed: the run's rules
        told = {k: v for k, v in spec[part].items() if k != 'randomness.seed'}
        spec[part] = told
    path = Path(spec['record'])
    with quiet():  # libraries print when they are imported late
        mark = run_fingerprint(spec)
    earlier = kept_record(path, mark)
    if earlier is not None:
        return earlier
    work_dir = Path(spec['work_dir'])
    with console(work_dir):
        trained = _once(work_dir / 'trained.json', _train, spec, work_dir, mark)
        tested = _once(work_dir / 'test.json', _test, spec, work_dir, mark)
    measured = dict(trained.pop('measured'), test_reads=tested['reads'])
    record = dict(
        record_head('run', spec, mark),
        seed=spec['seed'],
        overrides=plain({**spec['options'], **spec['settings']}),
        settings=plain(spec['settings']),
        metrics=dict(val=trained.pop('val'), test=tested['test']),
        measured=measured,
        **trained,
    )
    write_record(path, record)
    return record


def run_fingerprint(spec: Mapping[str, Any]) -> str:
    """Return the digest that says whether a run is the same as an earlier one."""
    names = ('config', 'options', 'settings', 'protocol', 'seed', 'metric')
    told = {name: spec[name] for name in names}
    return fingerprint(told, config_digest(spec), files_of_run(spec))


def _noted(note: Path, mark: str) -> Any:
    """Return what a note of the same run says, None if there is none."""
    content = json.loads(note.read_text()) if note.exists() else None
    same = isinstance(content, dict) and content.get('mark') == mark
    return content.get('result') if same else None


def _note(note: Path, mark: str, result: Any) -> None:
    write_json(note, dict(mark=mark, result=result))


def _once(
    note: Path, step: Callable[..., dict], spec: Mapping, work_dir: Path, mark: str
) -> dict[str, Any]:
    """Return what a step gave, noted so that it is not done again after a kill."""
    result = _noted(note, mark)
    if result is None:
        result = step(spec, work_dir, mark)
        _note(note, mark, result)
    return result


def _config(spec: Mapping[str, Any]) -> Config:
    return load_config(spec['config'], {**spec['options'], **spec['settings']})


def _train(spec: Mapping[str, Any], work_dir: Path, mark: str) -> dict[str, Any]:
    protocol = get_protocol(spec['protocol'])
    config = _config(spec)
    data = protocol_config(config, spec, protocol, 'final')
    about = dict(
        protocol=describe_config(config, protocol, 'final', list(spec['seeds'])),
        data=data,
        code=describe_code(),
    )
    note = work_dir / 'run.json'
    resume = protocol.selection == 'last' and _noted(note, mark) is not None
    if resume and protocol.validates and _is_at_its_end(work_dir):
        resume = False  # the validation of the last epoch would be missing
    (work_dir / 'test.json').unlink(missing_ok=True)
    watch = MeasuringHook()

    def built(runner: Any) -> None:
        # from here on no checkpoint of another run is there
        _note(note, mark, 'begun')
        runner.register_hook(watch)

    runner = train(
        config, work_dir=work_dir, resume=resume, overwrite=not resume, built=built
    )
    measured = watch.measured()
    tuned, total = count_parameters(runner.model)
    chosen_by = spec['metric'] if protocol.selection == 'best-val' else None
    heads = re.compile(r'(head|decode_head|auxiliary_head|neck)\.')
    head = [p for n, p in runner.model.named_parameters() if heads.match(n)]
    return dict(
        about,
        tuned_parameters=tuned,
        head_parameters=sum(p.numel() for p in head if p.requires_grad),
        total_parameters=total,
        val=validated(runner, chosen_by) if protocol.validates else None,
        measured=dict(measured, device=device_name(), finished=now()),
    )


def _is_at_its_end(work_dir: Path) -> bool:
    """Tell whether the last checkpoint is that of a finished training."""
    last = last_checkpoint(work_dir)
    if last is None:
        return False
    meta = read_checkpoint(last).get('meta', {})
    if not meta.get('cfg'):
        return True
    length, unit = training_length(Config.fromstring(meta['cfg'], '.py'))
    return meta.get('epoch' if unit == 'epochs' else 'iter', length) >= length


def _test(spec: Mapping[str, Any], work_dir: Path, mark: str) -> dict[str, Any]:
    """Read the test split once, but for kills; tell the metrics and how often."""
    config = _config(spec)
    out = None
    if spec.get('predictions'):
        suffix = '' if config.get('default_scope') == 'mmseg' else '.pkl'
        out = work_dir / f'predictions{suffix}'
    note = work_dir / 'test_reads.json'
    reads = 1 + (_noted(note, mark) or 0)
    checkpoint = _selected(work_dir, spec)
    _note(note, mark, reads)
    metrics = test(config, checkpoint, work_dir=work_dir, out=out)
    return dict(test={k: float(v) for k, v in metrics.items()}, reads=reads)


def _selected(work_dir: Path, spec: Mapping[str, Any]) -> Path:
    """Return the checkpoint that the protocol's rule selects."""
    if get_protocol(spec['protocol']).selection == 'last':
        found = last_checkpoint(work_dir)
    else:
        found = max(
            work_dir.glob('best_*.pth'), key=lambda p: p.stat().st_mtime, default=None
        )
    if found is None:
        raise UserError(f'{work_dir} holds no checkpoint to test')
    return found


def validated(runner: Any, metric: str | None = None) -> dict[str, float]:
    """Return the metrics of a validation.

    Args:
        runner: A runner that has trained.
        metric: That of the validation that was the first best by it, whose checkpoint
            ``save_best`` keeps; None: of the last.
    """
    scalars = {
        name[len('val/') :]: scalar.data[0]
        for name, scalar in runner.message_hub.log_scalars.items()
        if name.startswith('val/') and not name.endswith(('time', '/data_time'))
    }
    which = -1 if metric is None else int(np.nanargmax(scalars[metric]))
    return {name: float(values[which]) for name, values in scalars.items()}


def pretrain(spec: Mapping[str, Any]) -> dict[str, float]:
    """Train a config that makes weights for others; it has no record of its own.

    Args:
        spec: ``config``, ``options`` and ``work_dir``.

    Returns:
        The last validation metrics.
    """
    work_dir = Path(spec['work_dir'])
    with console(work_dir):
        config = load_config(spec['config'], dict(spec['options']))
        return validated(train(config, work_dir=work_dir, overwrite=True))
