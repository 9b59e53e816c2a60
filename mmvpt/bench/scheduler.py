# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Searches and runs give jobs to a crew, and hear how they ended."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mmvpt.errors import UserError

from .pool import MAX_DEATHS, Crew, Event, Job
from .progress import Tally, show_settings
from .strategies import Outcome, Strategy

if TYPE_CHECKING:  # a session without a search needs no Optuna
    from .store import Claim, StudyStore


class StorageError(UserError, RuntimeError):
    """The storage of a search cannot be reached, is full, or holds another search."""


class OtherSearchError(StorageError):
    """The storage holds a search of that name, but not this one."""


BEAT = 10.0  # seconds between signs of life, and between looks for those of others


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
    def ended(self, event: Event) -> None:
        """Hear how a job ended."""

    def tick(self) -> None:  # noqa: B027  (nothing, by default)
        """Do what is to be done from time to time."""

    def say(self, line: str) -> None:  # noqa: B027
        """Print a line."""


def drive(crew: Crew, sources: Sequence[Source], poll: float = 1.0) -> None:
    """Run the jobs of all sources, those of the first source first.

    A job that ran out of memory, or whose processes died twice, is put aside until
    nothing else can run, and then runs with nothing beside it.

    Args:
        crew: The workers.
        sources: What has jobs.
        poll: Seconds between looks for work that others leave.
    """
    aside: list[Job] = []
    while True:
        for source in sources:
            source.tick()
        if not any(job.alone for job in crew.running):
            _fill(crew, sources, aside)
        if not crew.running and aside:
            crew.submit(aside.pop(0))
        if not crew.running:
            if all(source.over for source in sources):
                return
            time.sleep(poll)  # others have the trials that we wait for
        for event in crew.wait(poll):
            job = event.job
            if event.outcome == 'memory' and crew.shares and not job.alone:
                job.alone = True
                aside.append(job)
                job.source.say(
                    f'{job.name}: out of memory; it is tried again with nothing beside '
                    'it (fewer --workers may be faster)'
                )
            else:
                job.source.ended(_judged(event))


def _fill(crew: Crew, sources: Sequence[Source], aside: list[Job]) -> None:
    """Start what can run side by side."""
    for source in sources:
        while crew.idle and not source.over:
            job = source.next_job()
            if job is None:
                break
            job.source = source
            if job.alone:
                aside.append(job)
            else:
                crew.submit(job)


def _judged(event: Event) -> Event:
    """Return how a job ended; one that lacks memory even when alone has failed."""
    if event.outcome != 'memory':
        return event
    advice = (
        'It ran out of memory with nothing of this session beside it. Take a smaller '
        'train_dataloader.batch_size or a device with more memory, and leave settings '
        'that do not fit out of the space.'
    )
    return Event(event.job, 'failed', f'{event.result}\n{advice}')


class Search(Source):
    """A search whose trials lie in a storage.

    Args:
        store: The storage.
        strategy: Decides on the trials.
        function: What runs a trial, 'module:name'. It gets ``spec`` with ``slot``,
            ``overrides`` and ``thresholds`` and returns the fields of an ``Outcome``.
        spec: What all trials share.
        say: Called with a line for each trial that ended.
        tally: Counts what is left of the session.
    """

    def __init__(
        self,
        store: StudyStore,
        strategy: Strategy,
        function: str,
        spec: Mapping[str, Any],
        say: Callable[[str], None] = print,
        tally: Tally | None = None,
    ) -> None:
        self.store, self.strategy = store, strategy
        self.function, self.spec, self.say = function, dict(spec), say
        self.tally = tally or Tally(1)
        self.tally.sources.append(self)
        self.failures: list[str] = []
        self.outcomes: dict[int, Outcome] = {}
        self.seconds: list[float] = []
        self._claims: dict[int, Claim] = {}
        self._deaths: dict[int, int] = {}
        self._complete = False
        self._beaten = time.monotonic()
        self.store.reap()
        self._look()

    def _look(self) -> None:
        """Read what others have finished."""
        self.outcomes = self.store.outcomes()
        plan = self.strategy.plan(self.outcomes)
        self.store.check_settings(self.strategy.planned)
        self._complete = plan is None

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Let the search fail when its storage does, and nothing else."""
        try:
            yield
        except StorageError as error:
            if str(error) not in self.failures:
                self.failures.append(str(error))

    @property
    def total(self) -> int:
        """Number of trials."""
        return self.strategy.total

    @property
    def done(self) -> int:
        """Number of trials that have ended, here or elsewhere."""
        return len(self.outcomes)

    @property
    def over(self) -> bool:
        """Whether the search is complete, or has failed."""
        return self._complete or (bool(self.failures) and not self._claims)

    def tick(self) -> None:
        """Renew leases, and look for dead owners."""
        due = self._beaten + min(BEAT, self.store.grace / 4)
        if not self.over and time.monotonic() > due:
            self._beaten = time.monotonic()
            with self._failing():
                self.store.beat(list(self._claims.values()))
                self.store.reap()

    def next_job(self) -> Job | None:
        """Claim a trial."""
        claim = None
        if not self._complete and not self.failures:
            with self._failing():
                self._look()
                plan = self.strategy.plan(self.outcomes)
                claim = self.store.claim(plan) if plan else None
        if claim is None:
            return None
        planned = claim.planned
        self._claims[claim.trial_id] = claim
        spec = dict(
            self.spec,
            slot=planned.slot,
            attempt=claim.attempt,
            overrides=self.strategy.space.overrides(planned.point),
            thresholds=dict(planned.thresholds),
        )
        return Job(
            self.function,
            spec,
            key=claim.trial_id,
            alone=self._deaths.get(planned.slot, 0) > 1,
            name=f'trial {planned.slot}',
        )

    def ended(self, event: Event) -> None:
        """Record a trial, or give it up."""
        claim = self._claims.pop(event.job.key)
        with self._failing():
            self._record(claim, event)

    def _record(self, claim: Claim, event: Event) -> None:
        slot = claim.planned.slot
        if event.outcome == 'done':
            result = dict(event.result)
            self.seconds.append(result.pop('seconds', 0.0))
            outcome = Outcome(**result)
            counts = self.store.finish(claim, outcome)
            self._look()
            if counts:
                self.say(self._line(claim, outcome))
            return
        self.store.fail(claim, str(event.result))
        if event.outcome == 'failed':
            self.failures.append(f'trial {slot}: {event.result}')
            return
        self._deaths[slot] = self._deaths.get(slot, 0) + 1
        if self._deaths[slot] >= MAX_DEATHS:
            self.failures.append(
                f'trial {slot}: {event.result}, {MAX_DEATHS} times in a row; is there '
                'enough memory?'
            )
        else:
            self.say(f'trial {slot}: {event.result}; it is tried again')

    def _line(self, claim: Claim, outcome: Outcome) -> str:
        done, total = len(self.outcomes), self.strategy.total
        settings = show_settings(self.strategy.space.overrides(claim.planned.point))
        value = 'diverged' if outcome.state == 'diverged' else outcome.state
        if outcome.value is not None:
            value = f'{outcome.value:.2f}'
        best = self.strategy.best(self.outcomes)
        line = f'[{done:{len(str(total))}}/{total}] {settings or "as it is"}: {value}'
        if best is not None:
            line += f', best {self.outcomes[best.slot].value:.2f}'
        return line + self.tally.left()
