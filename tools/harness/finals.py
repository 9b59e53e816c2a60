# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The final training of a record: train, test once at the end, write."""

from __future__ import annotations

import datetime
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmvpt.engine.config_mistakes import merge_options
from mmvpt.engine.launch import load_config
from mmvpt.models.tunable import count_parameters
from mmvpt.protocol import (
    InvalidRecordError,
    Protocol,
    describe_code,
    describe_config,
    get_protocol,
    read_record,
    write_json,
    write_record,
)
from mmvpt.protocol.provenance import fingerprint
from mmvpt.protocol.schema import FORMAT, VERSION

from .console import console
from .memory import peak_memory, reset_peak_memory
from .stage import (
    NAMES,
    config_digest,
    device_name,
    plain,
    stage_config,
    training_length,
)


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
    path = Path(spec['record'])
    mark = run_fingerprint(spec)
    earlier = _earlier(path, mark)
    if earlier is not None:
        return earlier
    protocol = get_protocol(spec['protocol'])
    work_dir = Path(spec['work_dir'])
    with console(work_dir):
        trained = _trained(spec, protocol, work_dir, mark)
        tested = _tested(spec, work_dir, mark)
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
        **trained,
    )
    write_record(path, record)
    return record


def run_fingerprint(spec: Mapping[str, Any]) -> str:
    """Return the digest that says whether a run is the same as an earlier one."""
    names = ('config', 'options', 'settings', 'protocol', 'seed', 'metric')
    return fingerprint({name: spec[name] for name in names}, config_digest(spec))


def _earlier(path: Path, mark: str) -> dict[str, Any] | None:
    """Return the record of the same run; set aside what else has its name."""
    if not path.exists():
        return None
    try:
        record = read_record(path)
        if record.get('fingerprint') == mark:
            return record
    except InvalidRecordError as error:
        print(f'{error}; it is done again', file=sys.stderr)
    os.replace(path, path.with_suffix('.old'))
    return None


def _trained(
    spec: Mapping[str, Any], protocol: Protocol, work_dir: Path, mark: str
) -> dict[str, Any]:
    """Train, or return what an earlier, complete training left."""
    from tools.train import main as train

    done = work_dir / 'trained.json'
    note = work_dir / 'run.json'
    if done.exists() and (content := json.loads(done.read_text()))['mark'] == mark:
        return content['trained']
    same = note.exists() and json.loads(note.read_text()) == mark
    blocks: dict[str, Any] = {}
    length: list[int] = []

    def prepare(config: Config) -> None:
        merge_options(config, {**spec['options'], **spec['settings']})
        data = stage_config(config, spec, protocol, 'final')
        seeds = list(spec['seeds'])
        blocks.update(protocol=describe_config(config, protocol, 'final', seeds))
        blocks.update(data=data, code=describe_code())
        length.append(training_length(config)[0])

    how = '--resume' if same and protocol.selection == 'last' else '--overwrite'
    if how == '--resume' and _is_at_its_end(work_dir) and protocol.validates:
        how = '--overwrite'  # the validation of the last epoch would be missing
    (work_dir / 'test.json').unlink(missing_ok=True)
    write_json(note, mark)
    reset_peak_memory()
    start = time.monotonic()
    runner = train([spec['config'], '--work-dir', str(work_dir), how], prepare)
    seconds = time.monotonic() - start
    now = datetime.datetime.now(datetime.timezone.utc)
    tuned, total = count_parameters(runner.model)
    head = [p for n, p in runner.model.named_parameters() if _is_head(n)]
    trained = dict(
        blocks,
        tuned_parameters=tuned,
        head_parameters=sum(p.numel() for p in head if p.requires_grad),
        total_parameters=total,
        val=validated(runner) if protocol.validates else None,
        measured=dict(
            seconds=seconds,
            peak_memory=peak_memory(),
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


def _tested(spec: Mapping[str, Any], work_dir: Path, mark: str) -> dict[str, float]:
    """Read the test split, once."""
    from tools.test import main as test

    done = work_dir / 'test.json'
    if done.exists() and (content := json.loads(done.read_text()))['mark'] == mark:
        return content['test']

    def prepare(config: Config) -> None:
        merge_options(config, {**spec['options'], **spec['settings']})

    arguments = [spec['config'], str(_selected(work_dir, spec)), '--work-dir']
    arguments.append(str(work_dir))
    if spec.get('predictions'):
        scope = load_config(spec['config']).get('default_scope')
        suffix = '' if scope == 'mmseg' else '.pkl'
        arguments += ['--out', str(work_dir / f'predictions{suffix}')]
    metrics = {k: float(v) for k, v in test(arguments, prepare).items()}
    write_json(done, dict(mark=mark, test=metrics))
    return metrics


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


def validated(runner: Any) -> dict[str, float]:
    """Return the metrics of a runner's last validation."""
    scalars = runner.message_hub.log_scalars
    return {
        name[len('val/') :]: float(scalar.current())
        for name, scalar in scalars.items()
        if name.startswith('val/') and not name.endswith(('time', '/data_time'))
    }
