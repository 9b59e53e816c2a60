# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What search and benchmark share: options, where things lie, what jobs are told."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmvpt.engine.run import load_config
from mmvpt.errors import UserError

from . import Protocol, metric_of
from .schema import NAMES
from .space import Space
from .strategies import STRATEGIES
from .suites import Cell


class StorageError(UserError):
    """The storage of a search cannot be reached, is full, or holds another search."""


class OtherSearchError(StorageError):
    """The storage holds a search of that name, but not this one."""


@dataclass
class Settings:
    """What the command line says."""

    protocol: Protocol
    out: Path
    seeds: tuple[int, ...]
    storage: str | None = None  # None: a file in out
    strategy: str = 'tpe'
    trials: int = 24
    batch: int = 4
    search_seed: int = 0
    accept_duplicates: int = 0
    study: str | None = None

    def __post_init__(self) -> None:
        self.storage = self.storage or f'sqlite:///{self.out}/search.db'


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
        accepted_duplicates=settings.accept_duplicates,
    )


def search_spec(cell: Cell, settings: Settings, space: Space) -> dict[str, Any]:
    """Return what all trials of a cell share."""
    draws = [cell.seeded(seed) for seed in settings.seeds]
    folder = settings.out / 'search' / settings.protocol.name / cell.task / cell.name
    return dict(
        cell_spec(cell, settings),
        options=draws[0],
        draws=[draw for i, draw in enumerate(draws) if draw not in draws[:i]],
        seed=settings.search_seed,
        work_dir=str(folder),
        overrides=space.overrides(space.start),
        thresholds={},
        interval=None,
        keys=sorted(key for d in space.dimensions for key in d.keys()),
    )


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
    add = parser.add_argument
    names = list(STRATEGIES)
    add('--strategy', choices=names, default=strategy, help=f'[{strategy}]')
    add('--trials', type=int, default=24, help='of tpe and asha [24]')
    add(
        '--batch',
        type=int,
        default=4,
        help='trials of tpe and asha that are drawn together and can run side by side; '
        'the result depends on it, not on --workers [4]',
    )
    add(
        '--storage',
        help='database of the searches: sqlite:///PATH, postgresql://USER@HOST/NAME, '
        'mysql+pymysql://... [a file in --out]',
    )
    add('--search-seed', type=int, default=0, help='of trials [0]')
    add(
        '--accept-duplicates',
        type=int,
        default=0,
        metavar='N',
        help='so many training images may be copies of test images; recorded [0]',
    )
    add('--workers', type=int, default=min(2, os.cpu_count() or 1), help='processes')
    add(
        '--devices',
        nargs='+',
        metavar='GPU',
        help='GPU numbers; workers are spread over them, several share one if there '
        'are more workers than devices',
    )
    add('--preview', action='store_true', help='estimate the cost and stop there')
