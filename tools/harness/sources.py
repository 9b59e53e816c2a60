# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Jobs that are needed together, and the final runs of a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .crew import MAX_DEATHS, Crew, Event, Job
from .drive import Source, drive
from .session import Settings, cell_spec, record_path, run_folder
from .suites import Cell

RUN_FINAL = 'tools.harness.finals:run_final'


class Batch(Source):
    """Some jobs whose results are all needed."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.failures: list[str] = []
        self.results: dict[Any, Any] = {}
        self._waiting = list(jobs)
        self._open = len(jobs)

    @property
    def over(self) -> bool:
        """Whether all jobs have ended."""
        return self._open == 0

    def next_job(self) -> Job | None:
        """Return the next job."""
        return self._waiting.pop(0) if self._waiting else None

    def ended(self, event: Event) -> None:
        """Keep a result; try a job again whose process was killed."""
        job = event.job
        if event.outcome == 'died' and job.deaths < MAX_DEATHS:
            self._waiting.insert(0, job)
            return
        self._open -= 1
        if event.outcome == 'done':
            self.results[job.key] = event.result
        else:
            self.failures.append(str(event.result))


def gather(crew: Crew, jobs: Sequence[Job]) -> dict[Any, Any]:
    """Run jobs and return their results by key.

    Raises:
        RuntimeError: If one failed.
    """
    batch = Batch(jobs)
    drive(crew, [batch])
    if batch.failures:
        raise RuntimeError('\n'.join(batch.failures))
    return batch.results


class Finals(Source):
    """The final runs of a cell, after its search if there is one.

    Args:
        cell: The cell.
        settings: The session.
        chosen: Returns the settings of the search; None while it is under way. Raises
            RuntimeError if it failed.
        say: Prints a line.
        predictions: Seeds of which the test predictions are kept.
    """

    def __init__(
        self,
        cell: Cell,
        settings: Settings,
        chosen: Callable[[], Mapping[str, Any] | None],
        say: Callable[[str], None],
        predictions: Sequence[int] = (),
        function: str = RUN_FINAL,
    ) -> None:
        self.cell, self.settings, self.function = cell, settings, function
        self.failures: list[str] = []
        self.records: dict[int, dict] = {}
        self._chosen, self._say, self._predictions = chosen, say, predictions
        self._waiting = list(settings.seeds)
        self._deaths: dict[int, int] = {}
        self._open = len(self._waiting)

    @property
    def over(self) -> bool:
        """Whether every run has ended."""
        return self._open == 0

    def next_job(self) -> Job | None:
        """Return the next run once the settings are known."""
        if not self._waiting:
            return None
        try:
            chosen = self._chosen()
        except RuntimeError as error:
            self.failures.append(str(error))
            self._waiting, self._open = [], self._open - len(self._waiting)
            return None
        if chosen is None:
            return None
        seed = self._waiting.pop(0)
        cell = self.cell
        spec = dict(
            cell_spec(cell, self.settings),
            options=cell.seeded(seed),
            settings=dict(chosen),
            seed=seed,
            work_dir=str(run_folder(self.settings, cell, seed)),
            record=str(record_path(self.settings, cell, f'seed{seed}')),
            predictions=seed in self._predictions,
        )
        return Job(self.function, spec, key=seed)

    def ended(self, event: Event) -> None:
        """Keep a record; try a run again whose process was killed."""
        seed = event.job.key
        label = f'{self.cell.task}, {self.cell.method}, seed {seed}'
        if event.outcome == 'died':
            self._deaths[seed] = self._deaths.get(seed, 0) + 1
            if self._deaths[seed] < MAX_DEATHS:
                self._say(f'{label}: {event.result}; it is tried again')
                self._waiting.insert(0, seed)
                return
        self._open -= 1
        if event.outcome == 'done':
            record = self.records[seed] = event.result
            value = record['metrics']['test'][record['metric']]
            seconds = record['measured']['seconds']
            self._say(f'{label}: test {value:.1f} ({seconds:.0f} s)')
        else:
            self.failures.append(f'{label}: {event.result}')
            self._say(f'{label}: failed, {str(event.result).splitlines()[0]}')
