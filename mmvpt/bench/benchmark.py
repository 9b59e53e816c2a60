# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Search, train and test methods on the tasks of a suite, with a record for each run.

What is done is kept and what failed is tried again: the command can be repeated. At
its end it makes tables and plots of all records, as tools/report.py does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmvpt.engine.work_dir import lock_work_dir

from . import PROTOCOLS, get_protocol, progress
from . import report as report_command
from . import study as session
from .jobs import Batch, Finals, gather
from .pool import Crew, Job
from .programs import WORDED, detail, say
from .scheduler import OtherSearchError, Search, Source, StorageError, drive
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
        'ade20k, pascal-context, a file of configs/suites by its name, or the '
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
            untimed = session_of.preview()
        if args.preview:
            failures = [*session_of.failures, *untimed]
        else:
            failures = session_of.run()
        count = session_of.count
    try:
        if not args.preview:
            say(f'{count} records in {out}/records')
            if any((out / 'records').rglob('*.json')):
                report_command.main([str(out)])
    finally:
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
        self._tally = progress.Tally(crew.size)
        self._searches: dict[int, _Searched] = {}
        self._failed: dict[int, str] = {}  # why a cell cannot run

    @property
    def count(self) -> int:
        """Number of records of final runs."""
        return sum(len(final.records) for final in self.finals)

    @property
    def failures(self) -> list[str]:
        """What failed: cells that cannot run, searches, final runs."""
        runs = [failure for final in self.finals for failure in final.failures]
        return [*self._failed.values(), *runs]

    @contextmanager
    def _trying(self, cell: Cell) -> Iterator[None]:
        """Let a cell fail where others can run; none can without the storage."""
        try:
            yield
        except WORDED as error:
            if isinstance(error, StorageError) and not isinstance(
                error, OtherSearchError
            ):
                raise
            self._fail(cell, str(error))

    def _fail(self, cell: Cell, why: str) -> None:
        label = f'{cell.task}, {cell.method}: '
        self._failed[id(cell)] = label + why
        self.line(f'{label}left out, {why.splitlines()[0]}')

    def _able(self, cells: Sequence[Cell]) -> list[Cell]:
        return [cell for cell in cells if id(cell) not in self._failed]

    def _spec(self, cell: Cell, stage: str) -> dict[str, Any]:
        """Return what the inspection and the timing of a cell are told."""
        space = cell.space if cell in self._searching else None
        spec = session.search_spec(cell, self.settings, space or Space({}))
        return dict(spec, stage=stage)

    def _gather(self, function: str, cells: Sequence[tuple[Cell, str]]) -> Batch:
        """Run a job for each of some cells, as at a stage."""
        jobs = []
        for cell, stage in cells:
            with self._trying(cell):
                spec = self._spec(cell, stage)
                jobs.append(Job(f'{session.TRIALS}:{function}', spec, key=id(cell)))
        return gather(self.crew, jobs)

    def _prepare(self) -> None:
        """Look at configs and data of the searches, and join these."""
        if self._searches or not self._able(self._searching):
            return
        from . import store  # noqa: F401

        cells = [(cell, 'search') for cell in self._searching]
        found = self._gather('inspect_search', cells)
        for cell in self._able(self._searching):
            if id(cell) in found.failed:
                self._fail(cell, found.failed[id(cell)])
                continue
            with self._trying(cell):
                self._join(cell, found.results[id(cell)])

    def preview(self) -> list[str]:
        """Print what is missing and its cost, by timing a few iterations of each cell.

        Returns:
            Why cells could not be timed.
        """
        self._prepare()
        missing = []
        for cell in self._able(self.cells):
            runs = len(self._missing(cell))
            found = self._searches.get(id(cell))
            trials = found.search.total - found.search.done if found else 0
            if trials or runs:
                missing.append((cell, trials + runs, 'search' if trials else 'final'))
        if not missing:
            return []
        say(f'Timing a few iterations of {len(missing)} trainings')
        timed = self._gather('calibrate', [(cell, stage) for cell, _, stage in missing])
        rows, untimed = [], []
        for cell, count, _ in missing:
            if id(cell) in self._failed:
                continue
            label = f'{cell.task}, {cell.method}'
            seconds = timed.results.get(id(cell))
            seconds = seconds and seconds['start'] + seconds['training']
            rows.append((label, count, seconds))
            if id(cell) in timed.failed:
                why = timed.failed[id(cell)]
                untimed.append(f'{label}: {why}')
                self.line(f'{label}: cannot be timed, {why.splitlines()[0]}')
        print(progress.preview(rows, self.crew.size)[0], flush=True)
        return untimed

    def _missing(self, cell: Cell) -> list[int]:
        return [
            seed
            for seed in self.settings.seeds
            if not session.record_path(self.settings, cell, f'seed{seed}').exists()
        ]

    def _join(self, cell: Cell, inspected: Mapping[str, Any]) -> None:
        search = session.make_search(
            cell, self.settings, inspected, self.line, self._tally
        )
        self._searches[id(cell)] = _Searched(search, inspected, time.monotonic())

    def run(self) -> list[str]:
        """Run all that is missing and return what failed."""
        self._prepare()
        cells = self._able(self.cells)
        searches = [found.search for found in self._searches.values()]
        self.finals = [
            Finals(
                cell,
                self.settings,
                lambda cell=cell: self._chosen(cell),
                self.line,
                self.predictions,
                tally=self._tally,
            )
            for cell in cells
        ]
        sources: list[Source] = [*searches, *self.finals]
        trials = sum(search.total for search in searches)
        runs = len(cells) * len(self.settings.seeds)
        say(
            f'{len(cells)} cells: {trials} trials, {runs} final runs, '
            f'protocol {self.settings.protocol.name}'
        )
        drive(self.crew, sources)
        return self.failures

    def _chosen(self, cell: Cell) -> dict[str, Any] | None:
        """Return the settings of a cell; writes the record of its search."""
        found = self._searches.get(id(cell))
        if found is None:
            return {}
        if found.best is not None:
            return found.best
        if not found.search.over:
            return None
        if found.search.failures:
            raise RuntimeError('; '.join(found.search.failures))
        record = session.write_search(
            session.record_path(self.settings, cell, 'search'),
            cell,
            found.search,
            found.inspected,
            time.monotonic() - found.start,
        )
        found.best = record['best']['overrides']
        shown = progress.show_settings(found.best) or 'as it is'
        self.line(f'{cell.task}, {cell.method}: chosen {shown}')
        return found.best
