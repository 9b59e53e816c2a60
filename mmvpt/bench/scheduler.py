# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Searches and final runs give jobs to the workers, and hear how they ended."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from mmvpt.errors import UserError

from .pool import Job, Pool

#: How often a job's process may die before the job counts as failed.
MAX_DEATHS = 5


class Source(ABC):
    """Something that has jobs to be done."""

    failures: list[str]
    seconds: Sequence[float] = ()  # what its jobs took
    total: int  # number of its jobs
    done: int  # how many of them have ended

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether there is nothing more to do."""

    @abstractmethod
    def next_job(self) -> Job | None:
        """Return a job that can start now, or None."""

    @abstractmethod
    def succeeded(self, job: Job, result: Any) -> None:
        """Hear what a job returned."""

    @abstractmethod
    def failed(self, job: Job, why: str) -> None:
        """Hear why a job failed."""

    def tick(self) -> None:  # noqa: B027  (nothing, by default)
        """Do what is to be done from time to time."""

    def close(self) -> None:  # noqa: B027
        """Give up what runs: the command ends."""

    def say(self, line: str) -> None:  # noqa: B027
        """Print a line."""


def run(pool: Pool, sources: Sequence[Source], poll: float = 1.0) -> None:
    """Run the jobs of all sources, those of the first source first.

    A job whose process died is tried again. One that ran out of memory, or whose
    processes died twice, waits until nothing else can run, and then runs alone.

    Args:
        pool: The workers.
        sources: What has jobs.
        poll: Seconds between looks for work that other commands leave.
    """
    again: list[Job] = []
    try:
        while True:
            for source in sources:
                source.tick()
            while (job := _next(pool, sources, again)) is not None:
                pool.submit(job)
            if not pool.running:
                if all(source.over for source in sources):
                    return
                time.sleep(poll)  # other commands have the trials that we wait for
            for job, outcome, result in pool.wait(poll):
                if outcome == 'done':
                    job.source.succeeded(job, result)
                elif _deserves_another(job, outcome, result, pool.shares):
                    again.append(job)
                else:
                    job.source.failed(job, _worded(outcome, result))
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
        job = source.next_job()
        if job is not None:
            job.source = source
            return job
    return again.pop(0) if again and not pool.running else None


def _deserves_another(job: Job, outcome: str, why: str, shares: bool) -> bool:
    """Decide whether a job is tried again, and whether alone."""
    if outcome == 'memory' and shares and not job.alone:
        job.alone = True
        job.source.say(
            f'{job.name}: out of memory; it is tried again with nothing beside it '
            '(fewer --workers may be faster)'
        )
        return True
    if outcome != 'died':
        return False
    job.deaths += 1
    job.alone = job.deaths > 1
    if job.deaths < MAX_DEATHS:
        job.source.say(f'{job.name}: {why}; it is tried again')
    return job.deaths < MAX_DEATHS


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
        self.results: dict[Any, Any] = {}
        self.failed_for: dict[Any, str] = {}  # why, by key
        self.total = len(jobs)
        self._waiting = list(jobs)

    @property
    def failures(self) -> list[str]:
        """Why jobs failed."""
        return list(self.failed_for.values())

    @property
    def done(self) -> int:
        """Number of jobs that have ended."""
        return len(self.results) + len(self.failed_for)

    @property
    def over(self) -> bool:
        """Whether all jobs have ended."""
        return self.done == self.total

    def next_job(self) -> Job | None:
        """Return the next job."""
        return self._waiting.pop(0) if self._waiting else None

    def succeeded(self, job: Job, result: Any) -> None:
        """Keep a result."""
        self.results[job.key] = result

    def failed(self, job: Job, why: str) -> None:
        """Keep the reason."""
        self.failed_for[job.key] = why


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
    if batch.failures:
        raise UserError(batch.failures[0])
    return batch.results[None]
