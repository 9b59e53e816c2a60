# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Search, train and test methods on the tasks of a suite, with a record for each run.

What is done is kept and what failed is tried again: the command can be repeated. Tables
and plots come from the records by tools/report.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmvpt.engine.work_dir import lock_work_dir
from mmvpt.protocol import PROTOCOLS, get_protocol

from . import progress, session
from .crew import Crew, Job
from .drive import Search, Source, drive
from .programs import detail, say
from .sources import Finals, gather
from .space import Space
from .suites import Cell, Suite, load_suite


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser('benchmark.py', description=__doc__)
    parser.add_argument(
        'suite',
        help='fgvc, vtab, vtab-natural, vtab-specialized, vtab-structured, '
        'ade20k, pascal-context, a file of configs/_base_/suites by its name, or the '
        'path of an own one',
    )
    parser.add_argument('--method', nargs='+', required=True, help="names, or 'all'")
    parser.add_argument('--backbone', help='such as vit-b_in21k')
    parser.add_argument('--tasks', nargs='+', help='only these')
    parser.add_argument('--protocol', choices=list(PROTOCOLS), help="[the suite's]")
    parser.add_argument('--seeds', nargs='+', type=int, help="[the protocol's]")
    parser.add_argument(
        '--search',
        action='store_true',
        help='search settings first, for each method and task',
    )
    parser.add_argument('--space', help='space file for all methods [each its own]')
    session.add_search_arguments(parser, 'tpe')
    parser.add_argument(
        '--no-preview', action='store_true', help='start without estimating the cost'
    )
    parser.add_argument(
        '--predictions',
        action='store_true',
        help='keep the test predictions of the first seed: predictions.pkl, or label '
        'maps in predictions/, in the folder of the run',
    )
    parser.add_argument('--out', help='folder [work_dirs/benchmark/<suite>]')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a benchmark.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The number of records.

    Raises:
        RuntimeError: If something failed; all else is done by then.
    """
    args = parse_args(argv)
    suite = load_suite(args.suite, args.method, args.backbone, args.tasks, args.space)
    protocol = get_protocol(args.protocol or suite.protocol)
    out = Path(args.out or f'work_dirs/benchmark/{suite.name}')
    stated = None if args.protocol else suite.seeds
    settings = session.Settings(
        protocol,
        out,
        tuple(args.seeds or stated or protocol.seeds),
        args.storage or f'sqlite:///{out}/search.db',
        args.strategy,
        args.trials,
        args.batch,
        args.search_seed,
        args.accept_duplicates,
    )
    if args.search and not protocol.searches:
        raise ValueError(
            f'protocol {protocol.name!r} searches nothing: leave out --search'
        )
    if protocol.label:
        say(f'{protocol.label.upper()}: {protocol.summary} Every figure is labelled.')
    with lock_work_dir(out), Crew(args.workers, args.devices) as crew:
        kept = settings.seeds[:1] if args.predictions else ()
        session_of = Benchmark(suite, settings, crew, args.search, predictions=kept)
        if not args.no_preview or args.preview:
            session_of.preview()
        if args.preview:
            return 0
        failures = session_of.run()
        count = session_of.count
    say(f'{count} records in {out}/records')
    if failures:
        raise RuntimeError(
            f'{len(failures)} failed:\n'
            + '\n'.join(failures)
            + '\nRun the command again to try these once more.'
        )
    return count


@dataclass
class _Searched:
    """A search of a cell and what it found."""

    search: Search
    inspected: Mapping[str, Any]
    start: float
    best: dict[str, Any] | None = None


class Benchmark:
    """All cells of a suite, on one crew.

    Args:
        suite: The suite.
        settings: The session.
        crew: The workers.
        search: Whether settings are searched where a cell has a space.
        line: Prints a line.
        predictions: Seeds of which test predictions are kept.
    """

    def __init__(
        self,
        suite: Suite,
        settings: session.Settings,
        crew: Crew,
        search: bool = False,
        line: Callable[[str], None] = detail,
        predictions: Sequence[int] = (),
    ) -> None:
        self.settings, self.crew, self.line = settings, crew, line
        self.cells = list(suite.cells.values())
        self.predictions = predictions
        self.finals: list[Finals] = []
        protocol = settings.protocol
        self._searching = [c for c in self.cells if c.is_searched(search, protocol)]
        if search and not self._searching:
            raise ValueError('no method of the suite has a space: give --space')
        self._searches: dict[int, _Searched] = {}
        self._inspected: dict[int, Any] = {}

    @property
    def count(self) -> int:
        """Number of records of final runs."""
        return sum(len(final.records) for final in self.finals)

    def _jobs(self, function: str, cells: Sequence[Cell]) -> list[Job]:
        jobs = []
        for cell in cells:
            space = cell.space if cell in self._searching else None
            spec = session.search_spec(cell, self.settings, space or Space({}))
            jobs.append(Job(f'{session.TRIALS}:{function}', spec, key=id(cell)))
        return jobs

    def _inspect(self) -> None:
        """Look at configs and data of the searches, before anything runs."""
        if self._searching and not self._inspected:
            jobs = self._jobs('inspect_search', self._searching)
            self._inspected = gather(self.crew, jobs)

    def preview(self) -> None:
        """Print what it will cost, by timing a few iterations of each cell."""
        self._inspect()
        say(f'Timing a few iterations of {len(self.cells)} trainings')
        jobs = self._jobs('calibrate', self.cells)
        for cell, job in zip(self.cells, jobs):
            job.spec['stage'] = 'search' if cell in self._searching else 'final'
        timed = gather(self.crew, jobs)
        rows = []
        for cell in self.cells:
            count = len(self._missing(cell))
            if cell in self._searching:
                search = self._search(cell)
                count += search.strategy.total - len(search.outcomes)
            seconds = timed[id(cell)]
            seconds = seconds and seconds['start'] + seconds['training']
            rows.append((f'{cell.task}, {cell.method}', count, seconds))
        print(progress.preview(rows, self.crew.size)[0], flush=True)

    def _missing(self, cell: Cell) -> list[int]:
        return [
            seed
            for seed in self.settings.seeds
            if not session.record_path(self.settings, cell, f'seed{seed}').exists()
        ]

    def _search(self, cell: Cell) -> Search:
        if id(cell) not in self._searches:
            inspected = self._inspected[id(cell)]
            search = session.make_search(cell, self.settings, inspected, self.line)
            start = time.monotonic()
            self._searches[id(cell)] = _Searched(search, inspected, start)
        return self._searches[id(cell)].search

    def run(self) -> list[str]:
        """Run all that is missing and return what failed."""
        self._inspect()
        searches = [self._search(cell) for cell in self._searching]
        self.finals = [
            Finals(
                cell,
                self.settings,
                lambda cell=cell: self._chosen(cell),
                self.line,
                self.predictions,
            )
            for cell in self.cells
        ]
        sources: list[Source] = [*searches, *self.finals]
        trials = sum(search.strategy.total for search in searches)
        runs = len(self.cells) * len(self.settings.seeds)
        say(
            f'{len(self.cells)} cells: {trials} trials, {runs} final runs, '
            f'protocol {self.settings.protocol.name}'
        )
        drive(self.crew, sources)
        return [failure for final in self.finals for failure in final.failures]

    def _chosen(self, cell: Cell) -> dict[str, Any] | None:
        """Return the settings of a cell; writes the record of its search."""
        if cell not in self._searching:
            return {}
        found = self._searches[id(cell)]
        if found.best is not None:
            return found.best
        if not found.search.over:
            return None
        if found.search.failures:
            raise RuntimeError(
                f'{cell.task}, {cell.method}: ' + '; '.join(found.search.failures)
            )
        record = session.write_search(
            session.record_path(self.settings, cell, 'search'),
            cell,
            found.search,
            found.inspected,
            time.monotonic() - found.start,
        )
        found.best = record['best']['overrides']
        self.line(f'{cell.task}, {cell.method}: chosen {found.best or "as it is"}')
        return found.best
