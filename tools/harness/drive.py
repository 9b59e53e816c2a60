# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Searches and runs give jobs to a crew, and hear how they ended."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .crew import MAX_DEATHS, Crew, Event, Job
from .strategies import Outcome, Strategy

if TYPE_CHECKING:  # a session without a search needs no Optuna
    from .store import Claim, StudyStore

BEAT = 10.0  # seconds between signs of life, and between looks for those of others


class Source(ABC):
    """Something that has jobs to be done."""

    failures: list[str]

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


def drive(crew: Crew, sources: Sequence[Source], poll: float = 1.0) -> None:
    """Run the jobs of all sources, those of the first source first.

    Args:
        crew: The workers.
        sources: What has jobs.
        poll: Seconds between looks for work that others leave.
    """
    while True:
        for source in sources:
            source.tick()
        for source in sources:
            while crew.idle and not source.over:
                job = source.next_job()
                if job is None:
                    break
                job.source = source
                crew.submit(job)
        if not crew.running:
            if all(source.over for source in sources):
                return
            time.sleep(poll)  # others have the trials that we wait for
        for event in crew.wait(poll):
            event.job.source.ended(event)


class Search(Source):
    """A search whose trials lie in a storage.

    Args:
        store: The storage.
        strategy: Decides on the trials.
        function: What runs a trial, 'module:name'. It gets ``spec`` with ``slot``,
            ``overrides`` and ``thresholds`` and returns the fields of an ``Outcome``.
        spec: What all trials share.
        say: Called with a line for each trial that ended.
    """

    def __init__(
        self,
        store: StudyStore,
        strategy: Strategy,
        function: str,
        spec: Mapping[str, Any],
        say: Callable[[str], None] = print,
    ) -> None:
        self.store, self.strategy = store, strategy
        self.function, self.spec, self.say = function, dict(spec), say
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
        self._complete = self.strategy.plan(self.outcomes) is None

    @property
    def over(self) -> bool:
        """Whether the search is complete, or has failed."""
        return self._complete or (bool(self.failures) and not self._claims)

    def tick(self) -> None:
        """Renew leases, and look for dead owners."""
        if time.monotonic() - self._beaten > min(BEAT, self.store.grace / 4):
            self._beaten = time.monotonic()
            self.store.beat(list(self._claims.values()))
            self.store.reap()

    def next_job(self) -> Job | None:
        """Claim a trial."""
        if self._complete or self.failures:
            return None
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
            overrides=self.strategy.space.overrides(planned.point),
            thresholds=dict(planned.thresholds),
        )
        return Job(self.function, spec, key=claim.trial_id)

    def ended(self, event: Event) -> None:
        """Record a trial, or give it up."""
        claim = self._claims.pop(event.job.key)
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
        changes = self.strategy.space.overrides(claim.planned.point)
        settings = ', '.join(f'{k.split(".")[-1]}={v}' for k, v in changes.items())
        value = 'diverged' if outcome.state == 'diverged' else outcome.state
        if outcome.value is not None:
            value = f'{outcome.value:.2f}'
        best = self.strategy.best(self.outcomes)
        line = f'[{done:{len(str(total))}}/{total}] {settings or "as it is"}: {value}'
        if best is not None:
            line += f', best {self.outcomes[best.slot].value:.2f}'
        mean = sum(self.seconds) / len(self.seconds)
        if done < total and mean:
            line += f' ({mean:.0f} s a trial)'
        return line
