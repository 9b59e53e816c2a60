# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""All cells of a suite: their searches and final runs, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmvpt.engine.work_dir import lock_work_dir
from mmvpt.errors import UserError

from . import get_protocol
from .console import detail, place, say, show_costs, show_settings
from .pool import Job, Pool
from .report import report
from .scheduler import Batch, Source, gather, run
from .search import TRIALS, make_search, write_search
from .settings import (
    OtherSearchError,
    Settings,
    StorageError,
    cell_spec,
    record_path,
    run_folder,
    search_spec,
)
from .space import Space
from .suites import Cell, Suite, load_suite

if TYPE_CHECKING:  # a command without a search needs no Optuna
    from .study import Search

RUN_FINAL = 'mmvpt.bench.finals:run_final'


def benchmark(
    suite: str,
    method: Sequence[str],
    *,
    backbone: str | None = None,
    tasks: Sequence[str] | None = None,
    protocol: str | None = None,
    seeds: Sequence[int] | None = None,
    search: bool = False,
    space: str | None = None,
    out: str | None = None,
    workers: int = 2,
    devices: Sequence[str] | None = None,
    preview: bool | str = True,
    predictions: bool = False,
    **how: Any,
) -> int:
    """Search, train and test methods on the tasks of a suite, a record for each run.

    Args:
        suite: fgvc, vtab, vtab-natural, vtab-specialized, vtab-structured, ade20k,
            pascal-context, a file of configs/suites by its name, or the path of an own
            one.
        method: Names of methods, or ``all`` alone.
        backbone: Such as vit-b_in21k; in place of a suite file's own dinov3-b, a file
            of weights, mmvpt://NAME or timm://NAME.
        tasks: Only these.
        protocol: Its name [the suite's].
        seeds: Of the final runs [the protocol's].
        search: Search settings of each cell first.
        space: Space file for all methods [each its own].
        out: Folder [work_dirs/benchmark/<suite>].
        workers: Number of processes.
        devices: GPU numbers; workers are spread over them, several share one if there
            are more workers than devices.
        preview: Estimate the cost first; 'only': and stop there.
        predictions: Keep the test predictions of the first seed: predictions.pkl, or
            label maps in predictions/, in the folder of the run.
        **how: Fields of :class:`Settings`, such as ``strategy`` and ``storage``.

    Returns:
        The number of records.

    Raises:
        UserError: If something failed; all else is done by then.
    """
    loaded = load_suite(suite, method, backbone, tasks, space)
    rules = get_protocol(protocol or loaded.protocol)
    folder = Path(out or f'work_dirs/benchmark/{loaded.name}')
    stated = None if protocol else loaded.seeds
    settings = Settings(rules, folder, tuple(seeds or stated or rules.seeds), **how)
    if search and not rules.searches:
        raise UserError(f'protocol {rules.name!r} searches nothing: leave out --search')
    if rules.label:
        say(f'{rules.label.upper()}: {rules.summary} Every figure is labelled.')
    with lock_work_dir(folder), Pool(workers, devices) as pool:
        kept = settings.seeds[:1] if predictions else ()
        cells = Benchmark(loaded, settings, pool, search, predictions=kept)
        failures = cells.preview() if preview else []
        failures = cells.failures + failures if preview == 'only' else cells.run()
    try:
        if preview != 'only':
            say(f'{cells.count} records in {folder}/records')
            if any((folder / 'records').rglob('*.json')):
                report([folder])
    finally:
        if failures:
            raise UserError(
                f'{len(failures)} failed:\n'
                + '\n'.join(failures)
                + '\nRun the command again to try these once more.'
            )
    return cells.count


class Finals(Source):
    """The final runs of a cell, after its search if there is one.

    Args:
        cell: The cell.
        settings: What the command line says.
        chosen: Returns the settings of the search; None while it is under way. Raises
            UserError if it failed.
        peers: The final runs of all cells.
        predictions: Seeds of which the test predictions are kept.
        function: What runs one.
    """

    def __init__(
        self,
        cell: Cell,
        settings: Settings,
        chosen: Callable[[], Mapping[str, Any] | None],
        peers: Sequence[Finals] = (),
        predictions: Sequence[int] = (),
        function: str = RUN_FINAL,
    ) -> None:
        super().__init__(len(settings.seeds))
        self.cell, self.settings, self.function = cell, settings, function
        self.records: dict[int, dict] = {}
        self._chosen, self._peers, self._predictions = chosen, peers, predictions
        self._waiting = list(settings.seeds)

    def next_job(self) -> Job | None:
        """Return the next run once the settings are known."""
        if not self._waiting:
            return None
        try:
            chosen = self._chosen()
            if chosen is None:
                return None
            shared = cell_spec(self.cell, self.settings)
        except (UserError, OSError) as error:
            label = f'{self.cell.label}: '
            why = str(error).removeprefix(label)
            self.failures.append(label + why)
            self.done += len(self._waiting)
            self._waiting = []
            detail(f'{label}no final run, {why.splitlines()[0]}')
            return None
        seed = self._waiting.pop(0)
        spec = dict(
            shared,
            options=self.cell.seeded(seed),
            settings=dict(chosen),
            seed=seed,
            work_dir=str(run_folder(self.settings, self.cell, seed)),
            record=str(record_path(self.settings, self.cell, f'seed{seed}')),
            predictions=seed in self._predictions,
        )
        return Job(self.function, spec, seed, f'{self.cell.label}, seed {seed}')

    def succeeded(self, job: Job, result: dict[str, Any]) -> str:
        """Keep a record."""
        self.records[job.key] = result
        seconds = result['measured']['seconds']
        self.seconds.append(seconds)
        value = result['metrics']['test'][result['metric']]
        return self._end(job, f'test {value:.1f} ({seconds:.0f} s)')

    def failed(self, job: Job, why: str) -> str:
        """Keep the reason."""
        self.failures.append(f'{job.name}: {why}')
        return self._end(job, f'failed, {why.splitlines()[0]}')

    def _end(self, job: Job, how: str) -> str:
        self.done += 1
        done = sum(peer.done for peer in self._peers)
        total = sum(peer.total for peer in self._peers)
        return f'{place(done, total)} {job.name}: {how}'


class Benchmark:
    """All cells of a suite, on one pool of workers.

    Args:
        suite: The suite.
        settings: What the command line says.
        pool: The workers.
        search: Whether settings are searched where a cell has a space.
        predictions: Seeds of which test predictions are kept.
    """

    def __init__(
        self,
        suite: Suite,
        settings: Settings,
        pool: Pool,
        search: bool = False,
        predictions: Sequence[int] = (),
    ) -> None:
        self.settings, self.pool = settings, pool
        self.cells = list(suite.cells.values())
        self.predictions = predictions
        self.finals: list[Finals] = []
        protocol = settings.protocol
        self._searching = [c for c in self.cells if c.is_searched(search, protocol)]
        if search and not self._searching:
            raise UserError('no method of the suite has a space: give --space')
        self._searches: dict[int, Search] = {}
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
        except (UserError, OSError) as error:
            other = isinstance(error, OtherSearchError)
            if isinstance(error, StorageError) and not other:
                raise
            self._failed[id(cell)] = f'{cell.label}: {error}'
            detail(f'{cell.label}: left out, {str(error).splitlines()[0]}')

    def _able(self, cells: Sequence[Cell]) -> list[Cell]:
        return [cell for cell in cells if id(cell) not in self._failed]

    def _spec(self, cell: Cell, stage: str) -> dict[str, Any]:
        """Return what the inspection and the timing of a cell are told."""
        space = cell.space if cell in self._searching else None
        spec = search_spec(cell, self.settings, space or Space({}))
        return dict(spec, stage=stage)

    def _gather(self, function: str, cells: Sequence[tuple[Cell, str]]) -> Batch:
        """Run a job for each of some cells, as at a stage."""
        jobs = []
        for cell, stage in cells:
            with self._trying(cell):
                spec = self._spec(cell, stage)
                jobs.append(Job(f'{TRIALS}:{function}', spec, key=id(cell)))
        return gather(self.pool, jobs)

    def _prepare(self) -> None:
        """Look at configs and data of the searches, and join these."""
        if self._searches or not self._able(self._searching):
            return
        cells = [(cell, 'search') for cell in self._searching]
        found = self._gather('inspect_search', cells)
        for cell in self._able(self._searching):
            with self._trying(cell):
                if why := found.failed_for.get(id(cell)):
                    raise UserError(why)
                search = make_search(cell, self.settings, found.results[id(cell)])
                self._searches[id(cell)] = search

    def preview(self) -> list[str]:
        """Print what is missing and its cost, by timing a few iterations of each cell.

        Returns:
            Why cells could not be timed.
        """
        self._prepare()
        missing = []
        for cell in self._able(self.cells):
            paths = (
                record_path(self.settings, cell, f'seed{seed}')
                for seed in self.settings.seeds
            )
            runs = sum(not path.exists() for path in paths)
            found = self._searches.get(id(cell))
            trials = found.total - found.done if found else 0
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
            rows.append((cell.label, count, timed.results.get(id(cell))))
            if why := timed.failed_for.get(id(cell)):
                untimed.append(f'{cell.label}: {why}')
                detail(f'{cell.label}: cannot be timed, {why.splitlines()[0]}')
        print(show_costs(rows, self.pool.size), flush=True)
        return untimed

    def run(self) -> list[str]:
        """Run all that is missing and return what failed."""
        self._prepare()
        cells = self._able(self.cells)
        searches = list(self._searches.values())
        for cell in cells:
            chosen = partial(self._chosen, cell)
            about = chosen, self.finals, self.predictions
            self.finals.append(Finals(cell, self.settings, *about))
        sources: list[Source] = [*searches, *self.finals]
        trials = sum(search.total for search in searches)
        runs = len(cells) * len(self.settings.seeds)
        say(
            f'{len(cells)} cells: {trials} trials, {runs} final runs, '
            f'protocol {self.settings.protocol.name}'
        )
        run(self.pool, sources)
        return self.failures

    def _chosen(self, cell: Cell) -> Mapping[str, Any] | None:
        """Return the settings of a cell; writes the record of its search."""
        search = self._searches.get(id(cell))
        if search is None:
            return {}
        if not search.over:
            return None
        if search.failures:
            raise UserError('; '.join(search.failures))
        if search.chosen is None:
            path = record_path(self.settings, cell, 'search')
            search.chosen = write_search(path, search)['best']['overrides']
            shown = show_settings(search.chosen) or 'as it is'
            detail(f'{cell.label}: chosen {shown}')
        return search.chosen
