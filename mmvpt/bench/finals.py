# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The final training of a record: train, test once at the end, write."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmvpt.engine.run import load_config, test, train
from mmvpt.models.tunable import count_parameters

from . import (
    Protocol,
    describe_code,
    describe_config,
    get_protocol,
    write_json,
    write_record,
)
from .console import console
from .hooks import MeasuringHook
from .kept import kept_record
from .protocol_config import (
    NAMES,
    config_digest,
    device_name,
    files_of_run,
    plain,
    stage_config,
    training_length,
)
from .provenance import fingerprint
from .quiet import quiet
from .schema import FORMAT, VERSION


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
    spec = dict(spec, **{k: _without_seed(spec[k]) for k in ('options', 'settings')})
    path = Path(spec['record'])
    with quiet():  # libraries print when they are imported late
        mark = run_fingerprint(spec)
    earlier = kept_record(path, mark)
    if earlier is not None:
        return earlier
    protocol = get_protocol(spec['protocol'])
    work_dir = Path(spec['work_dir'])
    with console(work_dir):
        trained = _trained(spec, protocol, work_dir, mark)
        tested, reads = _tested(spec, work_dir, mark)
    measured = dict(trained.pop('measured'), test_reads=reads)
    record = dict(
        format=FORMAT,
        version=VERSION,
        kind='run',
        **{name: spec[name] for name in NAMES},
        seed=spec['seed'],
        fingerprint=mark,
        overrides=plain({**spec['options'], **spec['settings']}),
        settings=plain(spec['settings']),
        metrics=dict(val=trained.pop('val'), test=tested),
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


def _without_seed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the seed that a space may vary: that of the run rules."""
    return {key: v for key, v in options.items() if key != 'randomness.seed'}


def _trained(
    spec: Mapping[str, Any], protocol: Protocol, work_dir: Path, mark: str
) -> dict[str, Any]:
    """Train, or return what an earlier, complete training left."""
    done = work_dir / 'trained.json'
    note = work_dir / 'run.json'
    if done.exists() and (content := json.loads(done.read_text()))['mark'] == mark:
        return content['trained']
    same = note.exists() and json.loads(note.read_text()) == mark
    config = load_config(spec['config'], {**spec['options'], **spec['settings']})
    data = stage_config(config, spec, protocol, 'final')
    blocks = dict(
        protocol=describe_config(config, protocol, 'final', list(spec['seeds'])),
        data=data,
        code=describe_code(),
    )
    resume = same and protocol.selection == 'last'
    if resume and _is_at_its_end(work_dir) and protocol.validates:
        resume = False  # the validation of the last epoch would be missing
    (work_dir / 'test.json').unlink(missing_ok=True)
    watch = MeasuringHook()

    def built(runner: Any) -> None:
        write_json(note, mark)  # from here on no checkpoint of another run is there
        runner.register_hook(watch)

    runner = train(
        config, work_dir=work_dir, resume=resume, overwrite=not resume, built=built
    )
    measured = watch.measured()
    now = datetime.datetime.now(datetime.timezone.utc)
    tuned, total = count_parameters(runner.model)
    chosen_by = spec['metric'] if protocol.selection == 'best-val' else None
    head = [p for n, p in runner.model.named_parameters() if _is_head(n)]
    trained = dict(
        blocks,
        tuned_parameters=tuned,
        head_parameters=sum(p.numel() for p in head if p.requires_grad),
        total_parameters=total,
        val=validated(runner, chosen_by) if protocol.validates else None,
        measured=dict(
            measured,
            device=device_name(),
            finished=now.isoformat('T', 'seconds'),
        ),
    )
    write_json(done, dict(mark=mark, trained=trained))
    return trained


def _is_head(name: str) -> bool:
    return bool(re.match(r'(head|decode_head|auxiliary_head|neck)\.', name))


def _is_at_its_end(work_dir: Path) -> bool:
    """Tell whether the last checkpoint is that of a finished training."""
    from mmvpt.checkpoint import read_checkpoint
    from mmvpt.engine.work_dir import last_checkpoint

    last = last_checkpoint(work_dir)
    if last is None:
        return False
    meta = read_checkpoint(last).get('meta', {})
    config = Config.fromstring(meta['cfg'], '.py') if meta.get('cfg') else None
    if config is None:
        return True
    length, unit = training_length(config)
    return meta.get('epoch' if unit == 'epochs' else 'iter', length) >= length


def _tested(
    spec: Mapping[str, Any], work_dir: Path, mark: str
) -> tuple[dict[str, float], int]:
    """Read the test split once, but for kills; return the metrics and how often."""
    done = work_dir / 'test.json'
    if done.exists() and (content := json.loads(done.read_text()))['mark'] == mark:
        return content['test'], content['reads']

    config = load_config(spec['config'], {**spec['options'], **spec['settings']})
    out = None
    if spec.get('predictions'):
        suffix = '' if config.get('default_scope') == 'mmseg' else '.pkl'
        out = work_dir / f'predictions{suffix}'
    reads = _count_read(work_dir / 'test_reads.json', mark)
    tested = test(config, _selected(work_dir, spec), work_dir=work_dir, out=out)
    metrics = {k: float(v) for k, v in tested.items()}
    write_json(done, dict(mark=mark, test=metrics, reads=reads))
    return metrics, reads


def _count_read(note: Path, mark: str) -> int:
    """Note, before it starts, that a run is tested; return how often it was."""
    reads = 1
    if note.exists() and (content := json.loads(note.read_text()))['mark'] == mark:
        reads += content['reads']
    write_json(note, dict(mark=mark, reads=reads))
    return reads


def _selected(work_dir: Path, spec: Mapping[str, Any]) -> Path:
    """Return the checkpoint that the protocol's rule selects."""
    from mmvpt.engine.work_dir import last_checkpoint

    if get_protocol(spec['protocol']).selection == 'last':
        found = last_checkpoint(work_dir)
    else:
        found = max(
            work_dir.glob('best_*.pth'), key=lambda p: p.stat().st_mtime, default=None
        )
    if found is None:
        raise RuntimeError(f'{work_dir} holds no checkpoint to test')
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
