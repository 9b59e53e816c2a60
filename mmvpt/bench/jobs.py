# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Jobs that are needed together, and the final runs of a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .pool import MAX_DEATHS, Crew, Event, Job
from .programs import WORDED
from .progress import Tally
from .scheduler import Source, drive
from .study import Settings, cell_spec, record_path, run_folder
from .suites import Cell

RUN_FINAL = 'mmvpt.bench.finals:run_final'


class Batch(Source):
    """Some jobs whose results are all needed."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.results: dict[Any, Any] = {}
        self.failed: dict[Any, str] = {}  # why, by key
        self.total = len(jobs)
        self._waiting = list(jobs)

    @property
    def failures(self) -> list[str]:
        """Why jobs failed."""
        return list(self.failed.values())

    @property
    def done(self) -> int:
        """Number of jobs that have ended."""
        return len(self.results) + len(self.failed)

    @property
    def over(self) -> bool:
        """Whether all jobs have ended."""
        return self.done == self.total

    def next_job(self) -> Job | None:
        """Return the next job."""
        return self._waiting.pop(0) if self._waiting else None

    def ended(self, event: Event) -> None:
        """Keep a result; try a job again whose process was killed."""
        job = event.job
        if event.outcome == 'died' and job.deaths < MAX_DEATHS:
            job.alone = job.deaths > 1
            self._waiting.insert(0, job)
        elif event.outcome == 'done':
            self.results[job.key] = event.result
        else:
            self.failed[job.key] = str(event.result)


def gather(crew: Crew, jobs: Sequence[Job]) -> Batch:
    """Run jobs, each with a key of its own, to their ends."""
    batch = Batch(jobs)
    drive(crew, [batch])
    return batch


def result_of(crew: Crew, function: str, spec: dict[str, Any]) -> Any:
    """Run a job and return its result.

    Raises:
        RuntimeError: If it failed.
    """
    batch = gather(crew, [Job(function, spec, key=0)])
    if batch.failures:
        raise RuntimeError(batch.failures[0])
    return batch.results[0]


class Finals(Source):
    """The final runs of a cell, after its search if there is one.

    Args:
        cell: The cell.
        settings: The session.
        chosen: Returns the settings of the search; None while it is under way. Raises
            RuntimeError if it failed.
        say: Prints a line.
        predictions: Seeds of which the test predictions are kept.
        function: What runs one.
        tally: Counts what is left of the session.
    """

    def __init__(
        self,
        cell: Cell,
        settings: Settings,
        chosen: Callable[[], Mapping[str, Any] | None],
        say: Callable[[str], None],
        predictions: Sequence[int] = (),
        function: str = RUN_FINAL,
        tally: Tally | None = None,
    ) -> None:
        self.cell, self.settings, self.function = cell, settings, function
        self.failures: list[str] = []
        self.records: dict[int, dict] = {}
        self.seconds: list[float] = []
        self.total, self.done = len(settings.seeds), 0
        self._tally = tally or Tally(1)
        self._tally.sources.append(self)
        self._chosen, self.say, self._predictions = chosen, say, predictions
        self._waiting = list(settings.seeds)
        self._deaths: dict[int, int] = {}

    @property
    def over(self) -> bool:
        """Whether every run has ended."""
        return self.done == self.total

    def next_job(self) -> Job | None:
        """Return the next run once the settings are known."""
        if not self._waiting:
            return None
        try:
            chosen = self._chosen()
            if chosen is None:
                return None
            shared = cell_spec(self.cell, self.settings)
        except WORDED as error:
            self._give_up(str(error))
            return None
        seed = self._waiting.pop(0)
        cell = self.cell
        spec = dict(
            shared,
            options=cell.seeded(seed),
            settings=dict(chosen),
            seed=seed,
            work_dir=str(run_folder(self.settings, cell, seed)),
            record=str(record_path(self.settings, cell, f'seed{seed}')),
            predictions=seed in self._predictions,
        )
        return Job(
            self.function,
            spec,
            key=seed,
            alone=self._deaths.get(seed, 0) > 1,
            name=self._label(seed),
        )

    def _label(self, seed: int) -> str:
        return f'{self.cell.task}, {self.cell.method}, seed {seed}'

    def _give_up(self, why: str) -> None:
        label = f'{self.cell.task}, {self.cell.method}: '
        why = why.removeprefix(label)
        self.failures.append(label + why)
        self.done += len(self._waiting)
        self._waiting = []
        self.say(f'{label}no final run, {why.splitlines()[0]}')

    def ended(self, event: Event) -> None:
        """Keep a record; try a run again whose process was killed."""
        seed = event.job.key
        label = self._label(seed)
        if event.outcome == 'died':
            self._deaths[seed] = self._deaths.get(seed, 0) + 1
            if self._deaths[seed] < MAX_DEATHS:
                self.say(f'{label}: {event.result}; it is tried again')
                self._waiting.insert(0, seed)
                return
        self.done += 1
        if event.outcome == 'done':
            record = self.records[seed] = event.result
            value = record['metrics']['test'][record['metric']]
            seconds = record['measured']['seconds']
            self.seconds.append(seconds)
            how = f'test {value:.1f} ({seconds:.0f} s){self._tally.left()}'
        else:
            self.failures.append(f'{label}: {event.result}')
            how = f'failed, {str(event.result).splitlines()[0]}'
        self.say(f'{self._place()} {label}: {how}')

    def _place(self) -> str:
        """Return [12/65]: how many final runs of the session have ended."""
        finals = [s for s in self._tally.sources if isinstance(s, Finals)]
        done, total = (sum(getattr(s, n) for s in finals) for n in ('done', 'total'))
        return f'[{done:{len(str(total))}}/{total}]'
