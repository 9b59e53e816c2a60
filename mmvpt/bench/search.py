# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A search of the hyper-parameters of one config, and the record of a search."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmvpt.engine.checks import check
from mmvpt.engine.run import load_config
from mmvpt.errors import UserError

from . import get_protocol, write_record
from .console import detail, say, show_costs, show_settings
from .pool import Pool
from .provenance import fingerprint
from .records import kept_record, now, plain, record_head
from .scheduler import result_of, run
from .settings import Settings, record_path, search_spec
from .space import Space, read_space
from .strategies import Strategy, curve, make_strategy
from .suites import Cell

if TYPE_CHECKING:  # a command without a search needs no Optuna
    from .study import Search

TRIALS = 'mmvpt.bench.trials'


def search(
    config: str,
    *,
    space: str | None = None,
    protocol: str = 'vpt',
    metric: str | None = None,
    out: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    workers: int = 2,
    devices: Sequence[str] | None = None,
    preview: bool = False,
    **how: Any,
) -> dict | None:
    """Search hyper-parameters on the validation split.

    Args:
        config: Config file.
        space: File that says what varies, e.g. configs/search/vpt_grid.py; only the
            strategy 'fixed' needs none.
        protocol: Which images train and which choose.
        metric: What is maximised [by the evaluator].
        out: Folder [work_dirs/search/<config>].
        cfg_options: Changes to the config, by dotted key.
        workers: Number of processes.
        devices: GPU numbers; workers are spread over them, several share one if there
            are more workers than devices.
        preview: Estimate the cost and stop there.
        **how: Fields of :class:`Settings`, such as ``strategy`` and ``storage``.

    Returns:
        The record of the search, None after a preview.

    Raises:
        UserError: If a trial failed, or something does not fit.
    """
    folder = Path(out or f'work_dirs/search/{Path(config).stem}')
    check(load_config(config, dict(cfg_options or {})))  # before anything else
    varied = read_space(space) if space else Space({})
    cell = _cell(config, cfg_options or {}, varied, metric)
    seed = how.get('search_seed', 0)
    settings = Settings(get_protocol(protocol), folder, (seed,), **how)
    with Pool(workers, devices) as pool:
        spec = search_spec(cell, settings, varied)
        say(f'Looking at the data of {config}')
        inspected = result_of(pool, f'{TRIALS}:inspect_search', spec)
        found = make_search(cell, settings, inspected)
        left = found.total - found.done
        if left and not found.over:
            say('Timing a few iterations')
            seconds = result_of(pool, f'{TRIALS}:calibrate', spec)
            rows = [(found.strategy.name, left, seconds)]
            print(show_costs(rows, pool.size), flush=True)
        if preview:
            return None
        say(f'{found.total} trials, {found.done} are done')
        run(pool, [found])
    if found.failures:
        raise UserError(
            '\n'.join(found.failures)
            + '\nRun the command again to try what failed once more.'
        )
    record = write_search(record_path(settings, cell, 'search'), found)
    options = {**record['overrides'], **record['best']['overrides']}
    load_config(config, options).dump(str(folder / 'best.py'))
    say(
        f'best {record["metric"]} on validation {record["best"]["value"]:.2f}: '
        f'{show_settings(record["best"]["overrides"]) or "as it is"}'
    )
    points = curve(found.outcomes)
    rises = [p for i, p in enumerate(points) if i == 0 or p[1] > points[i - 1][1]]
    shown = ', '.join(f'{value:.2f} after {cost:g}' for cost, value in rises)
    detail(f'best so far, by {inspected["unit"]} trained: {shown}')
    detail(f'config: {folder / "best.py"}')
    return record


def _cell(
    config: str, options: Mapping[str, Any], space: Space, metric: str | None
) -> Cell:
    method, _, rest = Path(config).stem.partition('_')
    backbone, _, task = rest.rpartition('_')
    names = ('search', task or method, '', method, backbone, config)
    return Cell(*names, options, space, metric)


def make_search(cell: Cell, settings: Settings, inspected: Mapping[str, Any]) -> Search:
    """Join or start the search of a cell.

    Args:
        cell: The cell.
        settings: What the command line says.
        inspected: What ``inspect_search`` returned.
    """
    from .storage import Storage
    from .study import Search, Study

    space = cell.space or Space({})
    strategy = make_strategy(
        cell.strategy or settings.strategy,
        space,
        settings.search_seed,
        settings.trials,
        settings.batch,
        inspected['length'],
    )
    spec = search_spec(cell, settings, space)
    del spec['keys']
    spec['interval'] = getattr(strategy, 'interval', None)
    parts = (cell.suite, settings.protocol.name, cell.task, cell.name, strategy.name)
    name = settings.study or '/'.join(parts)
    study = Study(
        Storage.at(settings.storage), name, _mark(spec, strategy, inspected), strategy
    )
    search = Search(study, f'{TRIALS}:run_trial', spec, cell.label)
    search.inspected = inspected
    return search


def _mark(spec: Mapping, strategy: Strategy, inspected: Mapping) -> str:
    names = ('config', 'options', 'protocol', 'seed', 'metric', 'interval')
    return fingerprint(
        {name: spec[name] for name in names},
        strategy.describe(),
        strategy.space.describe(),
        inspected['data'],
        inspected['digest'],
    )


def write_search(path: Path, search: Search) -> dict[str, Any]:
    """Write the record of a complete search and return it.

    A record of the same trials is kept: it tells what they cost, and with which code.

    Args:
        path: The file.
        search: The search.

    Raises:
        UserError: If every trial diverged.
    """
    strategy, outcomes = search.strategy, search.outcomes
    inspected = search.inspected
    trials = plain(
        [
            dict(
                vars(outcomes[planned.slot]),
                slot=planned.slot,
                overrides=strategy.space.overrides(planned.point),
            )
            for planned in strategy.planned
        ]
    )
    best = strategy.best(outcomes)
    if best is None:
        raise UserError(
            f'{search.label}: none of {len(trials)} trials came to its end '
            'with a finite loss. Search smaller learning rates.'
        )
    mark = _mark(search.spec, strategy, inspected)
    earlier = kept_record(path, mark)
    if earlier is not None and earlier['trials'] == trials:
        return earlier
    record = dict(
        record_head('search', search.spec, mark),
        overrides=plain(search.spec['options']),
        space=strategy.space.describe(),
        strategy=plain(strategy.describe()),
        trials=trials,
        best=trials[best.slot],
        **{name: inspected[name] for name in ('protocol', 'data', 'code')},
        measured=dict(
            seconds=time.monotonic() - search.start,
            peak_memory=None,
            device=inspected['device'],
            finished=now(),
        ),
    )
    write_record(path, record)
    return record
