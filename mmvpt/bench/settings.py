# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What search and benchmark share: options, where things lie, what jobs are told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmvpt.engine.run import load_config
from mmvpt.errors import UserError

from . import Protocol, metric_of
from .records import NAMES
from .space import Space
from .suites import Cell


class StorageError(UserError):
    """The storage of a search cannot be reached, is full, or holds another search."""


class OtherSearchError(StorageError):
    """The storage holds a search of that name, but not this one."""


@dataclass
class Settings:
    """What the command line says.

    Args:
        protocol: Which images train and which choose.
        out: Where everything goes.
        seeds: Of the final runs.
        storage: Database of the searches: sqlite:///PATH, postgresql://USER@HOST/NAME,
            mysql+pymysql://... [a file in --out].
        strategy: How settings are searched.
        trials: Of tpe and asha.
        batch: Trials of tpe and asha that are drawn together and can run side by side;
            the result depends on it, not on --workers.
        search_seed: Of trials.
        accept_duplicates: So many training images may be copies of test images;
            recorded.
        study: Name of the search in the storage.
    """

    protocol: Protocol
    out: Path
    seeds: tuple[int, ...]
    storage: str | None = None
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
