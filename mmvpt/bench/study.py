# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A search as an Optuna study: rounds are enqueued, workers ask and tell.

A trial has a *slot*, its number in the search; what is tried there is decided by the
strategy. Whoever looks at the study and finds a round without its trials enqueues them,
so that the end of a command, at any moment, leaves nothing that others cannot go on
with. A slot has several trials if commands ended that ran it; one of them completes.
"""

from __future__ import annotations

import functools
import math
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .console import place, show_settings
from .pool import Job
from .scheduler import Source
from .settings import OtherSearchError, StorageError
from .storage import Storage, optuna
from .strategies import Outcome, Planned, Strategy, distributions

TrialState = optuna.trial.TrialState
_DONE = (TrialState.COMPLETE, TrialState.PRUNED)


def _locked(method: Callable) -> Callable:
    """Let a method run under the lock of its storage; none may call another."""

    @functools.wraps(method)
    def run(self: Study, *args: Any) -> Any:
        return self.storage.attempt(method, self, *args)

    return run


@dataclass
class Claim:
    """A trial that this process runs."""

    trial: optuna.Trial
    planned: Planned
    attempt: int = 0  # how often the slot has been given up before


class Study:
    """One search in a storage.

    Args:
        storage: The storage.
        name: The study's name.
        fingerprint: Digest of config, space, strategy and protocol. A study under this
            name that has another one is refused.
        strategy: Decides on the rounds.

    Raises:
        StorageError: If the storage cannot be reached or holds another search.
    """

    def __init__(
        self, storage: Storage, name: str, fingerprint: str, strategy: Strategy
    ) -> None:
        self.storage, self.name, self.strategy = storage, name, strategy
        self.owner = f'{socket.gethostname()}/{os.getpid()}'
        self.outcomes: dict[int, Outcome] = {}
        self.complete = False
        self._mine: set[int] = set()  # trials that this process runs
        self._study = self._join(fingerprint)
        self.look()

    @_locked
    def _join(self, fingerprint: str) -> optuna.Study:
        study = optuna.create_study(
            storage=self.storage.backend,
            sampler=optuna.samplers.RandomSampler(),  # draws nothing: all is enqueued
            study_name=self.name,
            direction='maximize',
            load_if_exists=True,
        )
        earlier = study.user_attrs.get('fingerprint')
        if earlier is None:
            study.set_user_attr('fingerprint', fingerprint)
        elif earlier != fingerprint:
            raise OtherSearchError(
                f'{self.storage.name} holds a study {self.name!r} of another search: '
                "config, space, strategy, seed, protocol, data or Optuna's version "
                'differ. Choose another --study or --storage.'
            )
        return study

    @_locked
    def look(self) -> None:
        """Show life, read what ended, give up what is dead, enqueue what is missing.

        Raises:
            OtherSearchError: If something else was tried than what is planned.
        """
        self._look()

    def _look(self) -> list[optuna.trial.FrozenTrial]:
        for trial_id in self._mine:
            self.storage.backend.record_heartbeat(trial_id)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(self._study)
        trials = self._study.get_trials(deepcopy=False)
        for trial in trials:
            # its command ended before it could show life: nobody else claims now
            # (Optuna's copies have the owner of another number)
            owner = trial.user_attrs.get('owner', '')
            alone = not owner.startswith(f'{trial.number} ')
            if trial.state == TrialState.RUNNING and alone:
                self._study.tell(trial.number, state=TrialState.FAIL)
        trials = self._study.get_trials(deepcopy=False)
        known = {t.user_attrs['slot']: t for t in trials if t.state != TrialState.FAIL}
        self.outcomes = {s: _outcome(t) for s, t in known.items() if t.state in _DONE}
        plan = self.strategy.plan(self.outcomes)
        self.complete = plan is None
        for planned in self.strategy.planned:
            if planned.slot in known:
                self._check_point(known[planned.slot], planned)
            else:
                params = dict(zip(distributions(self.strategy.space), planned.point))
                about = dict(slot=planned.slot, point=list(planned.point))
                self._study.enqueue_trial(params, about)
        return trials

    def _check_point(self, trial: optuna.trial.FrozenTrial, planned: Planned) -> None:
        stored = trial.user_attrs['point']
        # machines may differ in the last digit
        close = [
            math.isclose(a, b, rel_tol=1e-9) for a, b in zip(stored, planned.point)
        ]
        if len(stored) != len(planned.point) or not all(close):
            raise OtherSearchError(
                f'{self.storage.name}, study {self.name!r}: trial {planned.slot} was '
                f'run with the point {stored}, but the search plans '
                f'{list(planned.point)} here. Use the same versions of mmvpt, Optuna '
                'and NumPy everywhere, or choose another --study.'
            )

    @_locked
    def claim(self) -> Claim | None:
        """Take the next trial that nobody has, None if there is none now."""
        trials = self._look()
        if not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of a heart-beat without optimize()
            trial = self._study.ask(distributions(self.strategy.space))
        self._mine.add(trial._trial_id)
        self.storage.backend.record_heartbeat(trial._trial_id)
        trial.set_user_attr('owner', f'{trial.number} {self.owner}')
        slot = trial.user_attrs['slot']
        failed = [t for t in trials if t.state == TrialState.FAIL]
        attempt = sum(t.user_attrs['slot'] == slot for t in failed)
        return Claim(trial, self.strategy.planned[slot], attempt)

    @_locked
    def finish(self, claim: Claim, outcome: Outcome) -> bool:
        """Record how a trial ended.

        Returns:
            False if the trial had been given up by others; then it does not count.
        """
        trial, counts = claim.trial, self._is_running(claim.trial)
        if counts:
            for step, value in outcome.steps.items():
                trial.report(float(value), int(step))
            trial.set_user_attr('state', outcome.state)
            trial.set_user_attr('cost', outcome.cost)
            complete = outcome.state == 'complete'
            state = TrialState.COMPLETE if complete else TrialState.PRUNED
            self._study.tell(trial, outcome.value if complete else None, state)
        self._mine.discard(trial._trial_id)
        self._look()
        return counts

    def _is_running(self, trial: optuna.Trial) -> bool:
        stored = self.storage.backend.get_trial(trial._trial_id)
        return stored.state == TrialState.RUNNING

    @_locked
    def give_up(self, claim: Claim, why: str) -> None:
        """Leave a trial of this process to others."""
        if self._is_running(claim.trial):
            claim.trial.set_user_attr('given_up', why[:500])
            self._study.tell(claim.trial, state=TrialState.FAIL)
        self._mine.discard(claim.trial._trial_id)


def _outcome(trial: optuna.trial.FrozenTrial) -> Outcome:
    return Outcome(
        trial.user_attrs['state'],
        trial.value if trial.state == TrialState.COMPLETE else None,
        dict(sorted(trial.intermediate_values.items())),
        trial.user_attrs['cost'],
    )


class Search(Source):
    """The trials of a study as jobs.

    Args:
        study: The study.
        function: What runs a trial, 'module:name'. It gets ``spec`` with ``slot``,
            ``attempt``, ``overrides`` and ``thresholds`` and returns the fields of an
            ``Outcome`` and ``seconds``.
        spec: What all trials share.
        label: What its lines begin with.
    """

    def __init__(
        self,
        study: Study,
        function: str,
        spec: Mapping[str, Any],
        label: str = 'search',
    ) -> None:
        super().__init__(study.strategy.total)
        self.study, self.strategy = study, study.strategy
        self.function, self.spec, self.label = function, dict(spec), label
        self.done = len(study.outcomes)
        #: What ``inspect_search`` returned, and the settings once they are chosen.
        self.inspected: Mapping[str, Any] = {}
        self.chosen: Mapping[str, Any] | None = None
        self.start = time.monotonic()
        self._claims: dict[Job, Claim] = {}
        self._beaten = time.monotonic()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Let the search fail when its storage does, and nothing else."""
        try:
            yield
        except StorageError as error:
            if str(error) not in self.failures:
                self.failures.append(str(error))
        self.done = len(self.outcomes)

    @property
    def outcomes(self) -> dict[int, Outcome]:
        """How trials have ended, here or elsewhere, by slot."""
        return self.study.outcomes

    @property
    def over(self) -> bool:
        """Whether the search is complete, or has failed."""
        return self.study.complete or (bool(self.failures) and not self._claims)

    def tick(self) -> None:
        """Show life."""
        due = self._beaten + self.study.storage.beat
        if self._claims and time.monotonic() > due:
            self._beaten = time.monotonic()
            with self._failing():
                self.study.look()

    def next_job(self) -> Job | None:
        """Claim a trial."""
        claim = None
        if not self.study.complete and not self.failures:
            with self._failing():
                claim = self.study.claim()
        if claim is None:
            return None
        planned = claim.planned
        spec = dict(
            self.spec,
            slot=planned.slot,
            attempt=claim.attempt,
            overrides=self.strategy.space.overrides(planned.point),
            thresholds=dict(planned.thresholds),
        )
        job = Job(self.function, spec, name=f'{self.label}: trial {planned.slot}')
        self._claims[job] = claim
        return job

    def succeeded(self, job: Job, result: Mapping[str, Any]) -> str | None:
        """Record a trial."""
        claim, counts = self._claims.pop(job), False
        outcome = Outcome(**{k: v for k, v in result.items() if k != 'seconds'})
        self.seconds.append(result['seconds'])
        with self._failing():
            counts = self.study.finish(claim, outcome)
        return self._line(claim.planned, outcome) if counts else None

    def failed(self, job: Job, why: str) -> None:
        """Give a trial up, and the search."""
        self.failures.append(f'{job.name}: {why}')
        with self._failing():
            self.study.give_up(self._claims.pop(job), why)

    def close(self) -> None:
        """Leave what runs to others, at once."""
        with self._failing():
            while self._claims:
                self.study.give_up(self._claims.popitem()[1], 'its command ended')

    def _line(self, planned: Planned, outcome: Outcome) -> str:
        settings = show_settings(self.strategy.space.overrides(planned.point))
        value = outcome.state if outcome.value is None else f'{outcome.value:.2f}'
        best = self.strategy.best(self.outcomes)
        line = f'{place(self.done, self.total)} {settings or "as it is"}: {value}'
        if best is not None:
            line += f', best {self.outcomes[best.slot].value:.2f}'
        return f'{self.label}: {line}'
