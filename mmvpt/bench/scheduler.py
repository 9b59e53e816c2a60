# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Searches and final runs give jobs to the workers, and hear how they ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from mmvpt.display import progress_bar
from mmvpt.errors import UserError

from .console import detail, time_left
from .pool import Job, Pool

#: How often a job's process may die before the job counts as failed.
MAX_DEATHS = 5


class Source:
    """Something that has jobs to be done.

    Args:
        total: Number of its jobs.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.failures: list[str] = []
        self.seconds: list[float] = []  # what its jobs took

    @property
    def over(self) -> bool:
        """Whether there is nothing more to do."""
        return self.done == self.total

    def next_job(self) -> Job | None:
        """Return a job that can start now, or None."""
        raise NotImplementedError

    def succeeded(self, job: Job, result: Any) -> str | None:
        """Hear what a job returned, and say something about it or not."""
        raise NotImplementedError

    def failed(self, job: Job, why: str) -> str | None:
        """Hear why a job failed, and say something about it or not."""
        raise NotImplementedError

    def tick(self) -> None:
        """Do what is to be done from time to time."""

    def close(self) -> None:
        """Give up what runs: the command ends."""


def run(pool: Pool, sources: Sequence[Source], poll: float = 1.0) -> None:
    """Run the jobs of all sources, those of the first source first.

    A job whose process died is tried again. One that ran out of memory, or whose
    processes died twice, waits until nothing else can run, and then runs alone. A
    terminal shows a bar meanwhile, below the lines.

    Args:
        pool: The workers.
        sources: What has jobs.
        poll: Seconds between looks for work that other commands leave.
    """
    again: list[Job] = []
    bar = progress_bar(sum(source.total for source in sources), 'trials and runs')
    try:
        with bar:
            while True:
                for source in sources:
                    source.tick()
                while (job := _next(pool, sources, again)) is not None:
                    pool.submit(job)
                if not pool.running:
                    if all(source.over for source in sources):
                        return
                    time.sleep(poll)  # other commands have what we wait for
                for job, outcome, result in pool.wait(poll):
                    if outcome == 'done':
                        line = job.source.succeeded(job, result)
                    elif line := _deserves_another(job, outcome, result, pool.shares):
                        again.append(job)
                    else:
                        line = job.source.failed(job, _worded(outcome, result))
                    bar.update(bar.task_ids[0], completed=sum(s.done for s in sources))
                    if line:
                        detail(line + time_left(sources, pool.size))
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt('run the command again to continue') from interrupt
    finally:
        for source in sources:
            source.close()


def _next(pool: Pool, sources: Sequence[Source], again: list[Job]) -> Job | None:
    """Return a job that can start now."""
    if not pool.idle or any(job.alone for job in pool.running):
        return None
    for job in again:
        if not job.alone:
            again.remove(job)
            return job
    for source in sources:
        found = source.next_job()
        if found is not None:
            found.source = source
            return found
    return again.pop(0) if again and not pool.running else None


def _deserves_another(job: Job, outcome: str, why: str, shares: bool) -> str | None:
    """Return what to say if a job is tried again, perhaps alone; None if it is not."""
    if outcome == 'memory' and shares and not job.alone:
        job.alone = True
        return (
            f'{job.name}: out of memory; it is tried again with nothing beside it '
            '(fewer --workers may be faster)'
        )
    if outcome != 'died':
        return None
    job.deaths += 1
    job.alone = job.deaths > 1
    return f'{job.name}: {why}; it is tried again' if job.deaths < MAX_DEATHS else None


def _worded(outcome: str, why: str) -> str:
    if outcome == 'died':
        return f'{why}, {MAX_DEATHS} times in a row; is there enough memory?'
    if outcome == 'memory':
        return (
            f'{why}\nIt ran out of memory with nothing of this command beside it. Take '
            'a smaller train_dataloader.batch_size or a device with more memory, and '
            'leave settings that do not fit out of the space.'
        )
    return why


class Batch(Source):
    """Some jobs whose results are all needed."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__(len(jobs))
        self.results: dict[Any, Any] = {}
        self.failed_for: dict[Any, str] = {}  # why, by key
        self._waiting = list(jobs)

    def next_job(self) -> Job | None:
        """Return the next job."""
        return self._waiting.pop(0) if self._waiting else None

    def succeeded(self, job: Job, result: Any) -> None:
        """Keep a result."""
        self.results[job.key] = result
        self.done += 1

    def failed(self, job: Job, why: str) -> None:
        """Keep the reason."""
        self.failed_for[job.key] = why
        self.done += 1


def gather(pool: Pool, jobs: Sequence[Job]) -> Batch:
    """Run jobs, each with a key of its own, to their ends."""
    batch = Batch(jobs)
    run(pool, [batch])
    return batch


def result_of(pool: Pool, function: str, spec: dict[str, Any]) -> Any:
    """Run a job and return its result.

    Raises:
        UserError: If it failed.
    """
    batch = gather(pool, [Job(function, spec)])
    if batch.failed_for:
        raise UserError(batch.failed_for[None])
    return batch.results[None]
