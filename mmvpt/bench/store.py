# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A search in an Optuna storage, shared by workers, processes and machines.

Each trial of the study has the user attribute ``slot``, its number in the search; which
point a slot has is decided by the strategy. A slot may have several trials, when
workers died; one of them completes, for these reasons:

- a waiting trial becomes a running one in one transaction, so by one worker;
- of two live trials of a slot only the one with the lower number may run;
- a trial that has been given up cannot be completed any more.

A running trial has a lease: its owner changes the attribute ``beat`` every few seconds.
Who sees no change for ``grace`` seconds by its own clock (or, on the owner's machine,
no such process) gives the trial up, and the slot is tried again.
"""

from __future__ import annotations

import functools
import math
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import optuna
    import sqlalchemy
    from optuna.exceptions import (
        DuplicatedStudyError,
        StorageInternalError,
        UpdateFinishedTrialError,
    )
    from optuna.storages import RDBStorage
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial, TrialState, create_trial
except ImportError as error:
    raise RuntimeError('searches need Optuna: pip install optuna') from error

from .scheduler import OtherSearchError, StorageError
from .strategies import Outcome, Planned

_DONE = (TrialState.COMPLETE, TrialState.PRUNED)
_LIVE = (TrialState.RUNNING, TrialState.WAITING)
_LOST = (StorageInternalError, sqlalchemy.exc.SQLAlchemyError, OSError)
#: Seconds between attempts to reach the storage; together well below a lease.
PAUSES = (1.0, 2.0, 4.0, 8.0)


@dataclass
class Claim:
    """A trial that this process runs."""

    trial_id: int
    planned: Planned
    attempt: int = 0  # how often the slot has been given up before


def _patiently(method: Callable) -> Callable:
    """Let a method try again for a while: a database may be restarting.

    What is tried again may have happened already, unheard. Then a trial is waiting or
    running without an owner, which claim() and reap() take up, or has ended.
    """

    @functools.wraps(method)
    def tried(self: StudyStore, *args: Any) -> Any:
        for pause in PAUSES:
            try:
                return method(self, *args)
            except _LOST as error:
                if _is_full(_reason(error)):
                    break
                time.sleep(pause)
        with self._reaching():
            return method(self, *args)

    return tried


class StudyStore:
    """One search in a storage.

    Args:
        url: ``sqlite:///PATH``, or what SQLAlchemy understands for a server.
        name: The study's name.
        fingerprint: Digest of config, space, strategy and protocol. A study under this
            name that has another one is refused.
        grace: Seconds without a sign of life after which a trial is given up.

    Raises:
        StorageError: If the storage cannot be reached or holds another search.
    """

    def __init__(
        self, url: str, name: str, fingerprint: str, grace: float = 90.0
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.url, self.name, self.grace = url, name, grace
        self.owner = f'{socket.gethostname()}/{os.getpid()}/{_born(os.getpid())}'
        self._seen: dict[int, tuple[str, float]] = {}
        self._done: dict[int, FrozenTrial] = {}
        self._beats = 0
        with self._reaching():
            self._storage = _open(url)
            self._study = self._find_or_create(name)
            self._check_same_search(fingerprint)

    def _find_or_create(self, name: str) -> int:
        try:
            return self._storage.create_new_study([StudyDirection.MAXIMIZE], name)
        except DuplicatedStudyError:
            return self._storage.get_study_id_from_name(name)

    def _check_same_search(self, fingerprint: str) -> None:
        attributes = self._storage.get_study_user_attrs(self._study)
        earlier = attributes.get('fingerprint')
        if earlier is None:
            self._storage.set_study_user_attr(self._study, 'fingerprint', fingerprint)
        elif earlier != fingerprint:
            raise OtherSearchError(
                f'{_hidden(self.url)} holds a study {self.name!r} of another search: '
                "config, space, strategy, seed, protocol, data or Optuna's version "
                'differ. Choose another --study or --storage.'
            )

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Word errors of the storage."""
        try:
            yield
        except (*_LOST, ImportError) as error:
            reason = _reason(error)
            if _is_full(reason):
                raise StorageError(
                    f'the disk of {_hidden(self.url)} is full. Make room and run the '
                    'command again; what is finished is kept.'
                ) from error
            if isinstance(error, ImportError):
                reason = f'{reason} {_driver_hint(self.url)}'
            raise StorageError(
                f'cannot use the storage {_hidden(self.url)}: {reason.splitlines()[0]} '
                'Check the address and that it may be written; a file is given as '
                '--storage sqlite:///work_dirs/search.db'
            ) from error

    def _trials(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study, deepcopy=False)

    @_patiently
    def outcomes(self) -> dict[int, Outcome]:
        """Return how slots have ended."""
        done = [trial for trial in self._trials() if trial.state in _DONE]
        self._done = {trial.user_attrs['slot']: trial for trial in done}
        return {slot: _outcome(trial) for slot, trial in self._done.items()}

    def check_settings(self, planned: Sequence[Planned]) -> None:
        """Check that what was tried, as last read, is what is planned.

        Raises:
            OtherSearchError: If not; results would go to settings that were not tried.
        """
        for trial in planned:
            if trial.slot in self._done:
                self._check_point(self._done[trial.slot], trial)

    def _check_point(self, trial: FrozenTrial, planned: Planned) -> None:
        stored = trial.user_attrs['point']
        same = len(stored) == len(planned.point) and all(
            # machines may differ in the last digit
            math.isclose(a, b, rel_tol=1e-9)
            for a, b in zip(stored, planned.point)
        )
        if not same:
            raise OtherSearchError(
                f'{_hidden(self.url)}, study {self.name!r}: trial {planned.slot} was '
                f'run with the point {stored}, but the search plans '
                f'{list(planned.point)} here. Use the same versions of mmvpt, Optuna '
                'and NumPy everywhere, or choose another --study.'
            )

    @_patiently
    def claim(self, plan: Sequence[Planned]) -> Claim | None:
        """Take the next trial of a round that nobody has, None if there is none.

        Args:
            plan: The round.
        """
        trials = self._trials()
        for planned in plan:
            mine = [t for t in trials if t.user_attrs.get('slot') == planned.slot]
            given_up = sum(t.state == TrialState.FAIL for t in mine)
            for trial in mine:
                if trial.state != TrialState.FAIL:
                    self._check_point(trial, planned)
            if any(t.state in (*_DONE, TrialState.RUNNING) for t in mine):
                continue
            waiting = [t._trial_id for t in mine if t.state == TrialState.WAITING]
            trial_id = waiting[0] if waiting else self._create(planned)
            if self._start(trial_id) and self._is_mine(trial_id, planned.slot):
                return Claim(trial_id, planned, given_up)
        return None

    def _create(self, planned: Planned) -> int:
        template = create_trial(
            state=TrialState.WAITING,
            user_attrs=dict(slot=planned.slot, point=list(planned.point)),
        )
        return self._storage.create_new_trial(self._study, template)

    def _start(self, trial_id: int) -> bool:
        try:
            if not self._storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                return False
            self._storage.set_trial_user_attr(trial_id, 'owner', self.owner)
        except UpdateFinishedTrialError:
            return False
        return True

    def _is_mine(self, trial_id: int, slot: int) -> bool:
        """Tell whether no other trial of the slot comes first; if one does, yield."""
        trials = [t for t in self._trials() if t.user_attrs.get('slot') == slot]
        number = next(t.number for t in trials if t._trial_id == trial_id)
        for trial in trials:
            earlier = trial.state in _LIVE and trial.number < number
            if trial._trial_id != trial_id and (trial.state in _DONE or earlier):
                self._give_up(trial_id, 'another trial has this slot')
                return False
        return True

    def _give_up(self, trial_id: int, why: str) -> bool:
        try:
            self._storage.set_trial_user_attr(trial_id, 'given_up', why[:500])
            return self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False

    @_patiently
    def beat(self, claims: Sequence[Claim]) -> None:
        """Renew the leases of running trials."""
        self._beats += 1
        for claim in claims:
            try:
                self._storage.set_trial_user_attr(claim.trial_id, 'beat', self._beats)
            except UpdateFinishedTrialError:
                pass  # given up by others; finish() will tell

    @_patiently
    def reap(self) -> int:
        """Give up trials whose owner shows no life, and return their number."""
        given_up = 0
        now = time.monotonic()
        for trial in self._trials():
            if trial.state != TrialState.RUNNING:
                continue
            owner = trial.user_attrs.get('owner', '')
            state = f'{owner} {trial.user_attrs.get("beat")}'
            before, since = self._seen.get(trial._trial_id, ('', now))
            if state != before:
                self._seen[trial._trial_id] = state, now
                since = now
            if owner == self.owner:
                continue
            if _is_gone(owner) or now - since > self.grace:
                given_up += self._give_up(trial._trial_id, f'{owner} is gone')
        return given_up

    @_patiently
    def finish(self, claim: Claim, outcome: Outcome) -> bool:
        """Record how a trial ended.

        Returns:
            False if the trial had been given up by others; then it does not count.
        """
        state = TrialState.COMPLETE
        values = None if outcome.value is None else [outcome.value]
        if outcome.state != 'complete':
            state, values = TrialState.PRUNED, None
        try:
            for step, value in outcome.steps.items():
                self._storage.set_trial_intermediate_value(
                    claim.trial_id, int(step), float(value)
                )
            for key, item in (('state', outcome.state), ('cost', outcome.cost)):
                self._storage.set_trial_user_attr(claim.trial_id, key, item)
            return self._storage.set_trial_state_values(claim.trial_id, state, values)
        except UpdateFinishedTrialError:
            return False

    @_patiently
    def fail(self, claim: Claim, why: str) -> None:
        """Give a trial of this process up; its slot is tried again."""
        self._give_up(claim.trial_id, why)


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    return str(getattr(cause, 'orig', None) or cause).strip() or type(cause).__name__


def _is_full(reason: str) -> bool:
    return 'disk is full' in reason or 'No space left' in reason


def _outcome(trial: FrozenTrial) -> Outcome:
    attributes = trial.user_attrs
    complete = trial.state == TrialState.COMPLETE
    return Outcome(
        attributes['state'],
        trial.value if complete else None,
        dict(sorted(trial.intermediate_values.items())),
        attributes['cost'],
    )


def _open(url: str) -> RDBStorage:
    """Open a storage, with transactions that exclude each other also in SQLite."""
    if not url.startswith('sqlite'):
        return RDBStorage(url, engine_kwargs=dict(pool_pre_ping=True))
    path = url.partition('///')[2]
    if path:
        Path(path).expanduser().parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(20):
        try:
            storage = RDBStorage(url, engine_kwargs=dict(connect_args=dict(timeout=60)))
            break
        except sqlalchemy.exc.DBAPIError as error:
            # Another process creates the tables at this moment.
            if attempt == 19 or not re.search('exists|locked|UNIQUE', str(error)):
                raise
            time.sleep(0.2)
    # sqlite3 begins a transaction at the first write, so that what was read before may
    # be old by then: two workers would start one trial.
    sqlalchemy.event.listen(storage.engine, 'connect', _no_implicit_begin)
    sqlalchemy.event.listen(storage.engine, 'begin', _begin_immediately)
    storage.engine.dispose()
    return storage


def _no_implicit_begin(connection, _record) -> None:
    connection.isolation_level = None


def _begin_immediately(connection) -> None:
    connection.exec_driver_sql('BEGIN IMMEDIATE')


def _hidden(url: str) -> str:
    """Return an address without its password."""
    return re.sub(r'(://[^:/@]*:)[^@]*@', r'\1***@', url)


def _driver_hint(url: str) -> str:
    drivers = dict(postgresql='psycopg2-binary', mysql='pymysql')
    kind = re.match(r'[a-z]*', url).group()
    return f'Install a driver: pip install {drivers[kind]}.' if kind in drivers else ''


def _born(pid: int) -> str:
    """Return when a process started, in the kernel's ticks; '' where unknown."""
    try:
        text = Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return ''
    fields = text.rpartition(')')[2].split()
    return 'ended' if fields[0] == 'Z' else fields[19]


def _is_gone(owner: str) -> bool:
    """Tell whether an owner ran on this machine and its process has ended."""
    host, _, rest = owner.partition('/')
    pid, _, born = rest.partition('/')
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return _born(int(pid)) != born
