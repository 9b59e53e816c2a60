# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What the search and the benchmark share: options, specs, searches."""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmvpt.engine.run import load_config

from . import Protocol, metric_of, write_record
from .kept import kept_record
from .progress import Tally
from .protocol_config import NAMES, plain
from .provenance import fingerprint
from .scheduler import Search
from .schema import FORMAT, VERSION
from .space import Space
from .strategies import STRATEGIES, Strategy, make_strategy
from .suites import Cell

TRIALS = 'mmvpt.bench.trials'


@dataclass
class Settings:
    """What the command line says of a session."""

    protocol: Protocol
    out: Path
    seeds: tuple[int, ...]
    storage: str = ''
    strategy: str = 'tpe'
    trials: int = 24
    batch: int = 4
    search_seed: int = 0
    accepted_duplicates: int = 0
    study: str | None = None
    grace: float = 90.0


def cell_spec(cell: Cell, settings: Settings) -> dict[str, Any]:
    """Return what all jobs of a cell share."""
    metric = cell.metric
    if metric is None:
        metric = metric_of(load_config(cell.config))
    about = {**vars(cell), 'metric': metric}
    return dict(
        {name: about[name] for name in NAMES},
        protocol=settings.protocol.name,
        seeds=list(settings.seeds),
        accepted_duplicates=settings.accepted_duplicates,
    )


def search_spec(cell: Cell, settings: Settings, space: Space) -> dict[str, Any]:
    """Return what all trials of a cell share."""
    seed = settings.search_seed
    draws = [cell.seeded(seed) for seed in settings.seeds]
    return dict(
        cell_spec(cell, settings),
        options=draws[0],
        draws=[draw for i, draw in enumerate(draws) if draw not in draws[:i]],
        seed=seed,
        work_dir=str(
            settings.out / 'search' / settings.protocol.name / cell.task / cell.name
        ),
        overrides=space.overrides(space.start),
        thresholds={},
        interval=None,
        keys=sorted(key for d in space.dimensions for key in d.keys()),
    )


def make_search(
    cell: Cell,
    settings: Settings,
    inspected: Mapping[str, Any],
    say: Callable[[str], None],
    tally: Tally,
) -> Search:
    """Join or start the search of a cell.

    Args:
        cell: The cell; it has a space.
        settings: The session.
        inspected: What ``inspect_search`` returned.
        say: Prints a line.
        tally: Counts what is left of the session.
    """
    from .store import StudyStore

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
    spec['interval'] = getattr(strategy, 'interval', None)
    mark = _mark(spec, strategy, inspected)
    parts = (cell.suite, settings.protocol.name, cell.task, cell.name, strategy.name)
    name = settings.study or '/'.join(parts)
    store = StudyStore(settings.storage, name, mark, settings.grace)
    spec.pop('keys')
    return Search(
        store,
        strategy,
        f'{TRIALS}:run_trial',
        spec,
        lambda line: say(f'{cell.task}, {cell.method}: {line}'),
        tally,
    )


def _mark(spec: Mapping, strategy: Strategy, inspected: Mapping) -> str:
    names = ('config', 'options', 'protocol', 'seed', 'metric', 'interval')
    return fingerprint(
        {name: spec[name] for name in names},
        strategy.describe(),
        strategy.space.describe(),
        inspected['data'],
        inspected['digest'],
    )


def write_search(
    path: Path, cell: Cell, search: Search, inspected: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """Write the record of a complete search and return it.

    A record of the same trials is kept: it tells what they cost, and with which code.

    Args:
        path: The file.
        cell: What was searched.
        search: The search.
        inspected: What ``inspect_search`` returned.
        seconds: Length of the session.

    Raises:
        RuntimeError: If every trial diverged.
    """
    strategy, outcomes = search.strategy, search.outcomes
    trials = {}
    for planned in strategy.planned:
        outcome = outcomes[planned.slot]
        trials[planned.slot] = dict(
            slot=planned.slot,
            overrides=plain(strategy.space.overrides(planned.point)),
            state=outcome.state,
            value=outcome.value,
            steps={str(step): value for step, value in outcome.steps.items()},
            cost=outcome.cost,
        )
    best = strategy.best(outcomes)
    if best is None:
        raise RuntimeError(
            f'{cell.task}, {cell.method}: none of {len(trials)} trials came to its end '
            'with a finite loss. Search smaller learning rates.'
        )
    spec, now = search.spec, datetime.datetime.now(datetime.timezone.utc)
    mark = _mark(spec, strategy, inspected)
    earlier = kept_record(path, mark)
    if earlier is not None and earlier['trials'] == list(trials.values()):
        return earlier
    record = dict(
        format=FORMAT,
        version=VERSION,
        kind='search',
        **{name: spec[name] for name in NAMES},
        fingerprint=mark,
        overrides=plain(spec['options']),
        space=strategy.space.describe(),
        strategy=plain(strategy.describe()),
        trials=list(trials.values()),
        best=trials[best.slot],
        protocol=inspected['protocol'],
        data=inspected['data'],
        code=inspected['code'],
        measured=dict(
            seconds=seconds,
            peak_memory=None,
            device=inspected['device'],
            finished=now.isoformat('T', 'seconds'),
        ),
    )
    write_record(path, record)
    return record


def record_path(settings: Settings, cell: Cell, what: str) -> Path:
    """Return the path of a record of a cell."""
    folder = settings.out / 'records' / cell.suite / settings.protocol.name / cell.task
    return folder / f'{cell.name}_{what}.json'


def run_folder(settings: Settings, cell: Cell, seed: int) -> Path:
    """Return the folder of a final run."""
    if cell.folder is not None:
        return settings.out / cell.folder / f'seed{seed}'
    folder = settings.out / 'runs' / settings.protocol.name / cell.task
    return folder / f'{cell.name}_seed{seed}'


def add_search_arguments(parser: argparse.ArgumentParser, strategy: str) -> None:
    """Add the options that search and benchmark share."""
    parser.add_argument(
        '--strategy', choices=list(STRATEGIES), default=strategy, help=f'[{strategy}]'
    )
    parser.add_argument('--trials', type=int, default=24, help='of tpe and asha [24]')
    parser.add_argument(
        '--batch',
        type=int,
        default=4,
        help='trials of tpe and asha that are drawn together and can run side by side; '
        'the result depends on it, not on --workers [4]',
    )
    parser.add_argument(
        '--storage',
        help='database of the searches: sqlite:///PATH, postgresql://USER@HOST/NAME, '
        'mysql+pymysql://... [a file in --out]',
    )
    parser.add_argument('--search-seed', type=int, default=0, help='of trials [0]')
    parser.add_argument(
        '--accept-duplicates',
        type=int,
        default=0,
        metavar='N',
        help='so many training images may be copies of test images; recorded [0]',
    )
    parser.add_argument(
        '--workers', type=int, default=min(2, os.cpu_count() or 1), help='processes'
    )
    parser.add_argument(
        '--devices',
        nargs='+',
        metavar='GPU',
        help='GPU numbers; workers are spread over them, several share one if there '
        'are more workers than devices',
    )
    parser.add_argument(
        '--preview', action='store_true', help='estimate the cost and stop there'
    )
