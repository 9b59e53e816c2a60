# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Trials in a storage: claimed once, given up when their owner dies, counted once."""

import itertools
import multiprocessing
import os
import signal

import pytest

pytest.importorskip('optuna')
import optuna

from mmvpt.bench.pool import Pool
from mmvpt.bench.scheduler import run
from mmvpt.bench.settings import StorageError
from mmvpt.bench.space import Space
from mmvpt.bench.storage import Storage
from mmvpt.bench.strategies import Grid, Outcome
from mmvpt.bench.study import Study
from tests.bench.searches import outcome_lines, start_search

DONE = Outcome('complete', 71.5, {1: 60.0, 3: 70.25}, 4.0)


@pytest.fixture
def url(tmp_path):
    return f'sqlite:///{tmp_path}/search.db'


def study(url, mark='mark', values=3, **kwargs):
    grid = Grid(Space({'lr': list(range(values))}))
    return Study(Storage(url, **{'beat': 1, **kwargs}), 'study', mark, grid)


def count(one, *states):
    return len(one._study.get_trials(states=states or None))


WAITING, RUNNING = optuna.trial.TrialState.WAITING, optuna.trial.TrialState.RUNNING


def test_every_trial_is_claimed_once(url):
    one, two = study(url), study(url)
    assert count(two) == 3, 'the round was enqueued twice'
    claims = [one.claim(), two.claim(), one.claim()]
    assert [claim.planned.slot for claim in claims] == [0, 1, 2]
    assert two.claim() is None
    assert one.finish(claims[0], DONE)
    two.look()
    assert two.outcomes == {0: DONE} and not two.complete
    assert two.claim() is None
    assert two._study.trials[2].params == {'lr': 2}, 'a dashboard shows parameters'


@pytest.mark.parametrize('state', ['pruned', 'diverged'])
def test_other_ends_are_kept(url, state):
    one = study(url)
    outcome = Outcome(state, None, {} if state == 'diverged' else {1: 50.0}, 1.0)
    one.finish(one.claim(), outcome)
    assert study(url).outcomes == {0: outcome}


def age(one, claim, seconds):
    """Let the last sign of life of a trial be older than it is."""
    import sqlalchemy

    query = (
        f"UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '-{seconds} "
        f"seconds') WHERE trial_id = {claim.trial._trial_id}"
    )
    with one.storage.backend.engine.begin() as connection:
        connection.execute(sqlalchemy.text(query))


def test_a_trial_whose_owner_is_silent_is_tried_again(url):
    one, two = study(url, grace=10), study(url, grace=10)
    lost = one.claim()
    age(one, lost, 8)
    assert two.claim().planned.slot == 1
    age(one, lost, 30)
    one.look()
    assert two.claim().planned.slot == 2
    age(one, lost, 30)
    again = two.claim()
    assert (again.planned.slot, again.attempt) == (0, 1)
    history = optuna.storages.RetryHeartbeatStaleTrialCallback.retry_history
    assert history(two._study.trials[again.trial.number]) == [lost.trial.number]
    assert not one.finish(lost, DONE), 'a trial that was given up counted'
    assert one.outcomes == {} and two.finish(again, DONE)
    assert two.outcomes == {0: DONE} and two.claim() is None


def test_a_command_does_not_give_up_its_own_trials(url):
    """However late it is, as on a machine that was asleep."""
    one = study(url, grace=10)
    mine = one.claim()
    age(one, mine, 30)
    assert one.claim().planned.slot == 1 and one.finish(mine, DONE)


def die_at(url, owner, name, call=1):
    """Claim a trial in a process that is killed at a call of something."""

    def main():
        real, calls = getattr(owner, name), itertools.count(1)

        def dying(*args, **kwargs):
            if next(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        setattr(owner, name, dying)
        study(url, grace=10).claim()

    child = multiprocessing.get_context('fork').Process(target=main)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    'owner, name, call',
    [
        (optuna.storages.RDBStorage, 'record_heartbeat', 1),  # it runs, nobody knows
        (optuna.Study, 'enqueue_trial', 2),
        (optuna.trial.Trial, 'set_user_attr', 1),
    ],
)
def test_a_session_that_is_killed_on_the_way(url, owner, name, call):
    die_at(url, owner, name, call)
    one = study(url)
    slots = [one.claim().planned.slot for _ in range(3)]
    assert sorted(slots) == [0, 1, 2] and one.claim() is None


def test_a_retry_that_is_killed_before_it_is_enqueued(url):
    one = study(url, grace=10)
    age(one, one.claim(), 30)
    die_at(url, optuna.storages.RetryHeartbeatStaleTrialCallback, '__call__')
    assert count(one, WAITING) == 2
    assert [study(url).claim().planned.slot for _ in range(3)] == [1, 2, 0]


def test_a_copied_owner_is_nobody(url):
    """Optuna's retry copies attributes; the copy may be claimed by a dying session."""
    lost, one = study(url, grace=10), study(url, grace=10)
    age(one, lost.claim(), 30)
    one.look()
    copy = one._study.get_trials(states=(WAITING,))[-1]
    assert copy.user_attrs['owner'].startswith('0 ')
    one.storage.backend.set_trial_state_values(copy._trial_id, RUNNING)
    assert sorted(one.claim().planned.slot for _ in range(3)) == [0, 1, 2]


def test_a_session_that_ends_leaves_its_trials_to_others_at_once(tmp_path, url):
    search = start_search(tmp_path, url, 'grid')
    assert search.next_job().name == 'search: trial 0'
    search.close()
    assert start_search(tmp_path, url, 'grid').next_job().spec['attempt'] == 0
    slots = [start_search(tmp_path, url, 'grid').next_job().name for _ in range(14)]
    assert slots[-1] == 'search: trial 0'


def _claim_all(url, pipe, start):
    mine = study(url, values=6)
    start.wait()
    slots = []
    while claim := mine.claim():
        slots.append(claim.planned.slot)
        mine.finish(claim, DONE)
    pipe.send(slots)


def test_processes_that_race_share_the_trials(url):
    context = multiprocessing.get_context('fork')
    start = context.Barrier(3)
    pipes = [context.Pipe() for _ in range(3)]
    children = [
        context.Process(target=_claim_all, args=(url, theirs, start))
        for _, theirs in pipes
    ]
    for child in children:
        child.start()
    taken = [ours.recv() for ours, _ in pipes]
    for child in children:
        child.join()
    assert sorted(slot for slots in taken for slot in slots) == list(range(6))
    assert count(study(url, values=6)) == 6


def test_two_sessions_join_one_search(tmp_path, url):
    first = start_search(tmp_path, url)
    second = start_search(tmp_path, url)
    with Pool(2, context='fork') as pool:
        run(pool, [first, second], poll=0.05)
    assert outcome_lines(first) == outcome_lines(second)
    diary = (tmp_path / 'diary').read_text().splitlines()
    assert len(diary) == len(set(diary)) == 10


def test_a_failed_trial_ends_the_search_and_is_tried_again(tmp_path, url):
    (tmp_path / 'broken').touch()
    search = start_search(tmp_path, url, 'grid', function='tests.bench.fake:broken')
    with Pool(1, context='fork') as pool:
        run(pool, [search], poll=0.05)
        assert 'this setting is broken' in search.failures[0]
        (tmp_path / 'broken').unlink()
        search = start_search(tmp_path, url, 'grid', function='tests.bench.fake:broken')
        run(pool, [search], poll=0.05)
    assert not search.failures and len(search.outcomes) == 15


def test_other_settings_under_a_slot_are_refused(url, monkeypatch):
    one, two = study(url), study(url)
    one.claim()
    trials = two.strategy.planned
    trials[0].__dict__['point'] = (1,)
    with pytest.raises(StorageError, match=r'trial 0 was run with the point \[0\]'):
        two.claim()  # it runs
    trials[0].__dict__['point'] = (1e-13,)
    with pytest.raises(StorageError, match='Use the same versions'):
        two.claim()
    trials[0].__dict__['point'], trials[1].__dict__['point'] = (0,), (1 + 1e-13,)
    assert two.claim() is not None


def test_a_search_with_other_points_is_refused(tmp_path, url):
    first = start_search(tmp_path, url)
    with Pool(1, context='fork') as pool:
        run(pool, [first], poll=0.05)
    assert not start_search(tmp_path, url).failures
    with pytest.raises(StorageError, match='but the search plans'):
        start_search(tmp_path, url, seed=1)  # as another Optuna may draw


def lose(monkeypatch, owner, name, times):
    """Let a method of the storage fail a number of times."""
    import sqlalchemy

    method, left = getattr(owner, name), iter(range(times))

    def failing(*args, **kwargs):
        if next(left, None) is not None:
            cause = Exception('server closed the connection unexpectedly')
            raise sqlalchemy.exc.OperationalError('SELECT', {}, cause)
        return method(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)


def test_a_storage_that_is_lost_for_a_moment(url, monkeypatch):
    pauses = []
    monkeypatch.setattr('mmvpt.bench.storage.time.sleep', pauses.append)
    one = study(url, grace=60)
    lose(monkeypatch, one._study, 'get_trials', 2)
    claim = one.claim()
    assert claim.planned.slot == 0 and pauses == [1.0, 2.0]
    lose(monkeypatch, one.storage.backend, 'record_heartbeat', 3)
    one.look()
    lose(monkeypatch, one._study, 'tell', 3)
    assert one.finish(claim, DONE) and one.outcomes == {0: DONE}
    lose(monkeypatch, one._study, 'get_trials', 9)
    with pytest.raises(StorageError, match='server closed the connection'):
        one.look()
    assert sum(pauses[-4:]) < 60 / 2


def test_a_search_whose_storage_is_lost_fails_alone(tmp_path, url, monkeypatch):
    monkeypatch.setattr('mmvpt.bench.storage.PAUSES', ())
    search = start_search(tmp_path, url)
    other = start_search(tmp_path, f'sqlite:///{tmp_path}/other.db', 'grid')
    lose(monkeypatch, search.study._study, 'get_trials', 10**6)
    with Pool(1, context='fork') as pool:
        run(pool, [search, other], poll=0.05)
    assert 'cannot use the storage' in search.failures[0]
    assert not other.failures and len(other.outcomes) == 15


def test_attempts_are_counted(url):
    one = study(url, values=1)
    for attempt in range(3):
        claim = one.claim()
        assert (claim.planned.slot, claim.attempt) == (0, attempt)
        one.give_up(claim, 'why')


def test_another_search_under_the_name_is_refused(url):
    study(url)
    with pytest.raises(StorageError, match='of another search'):
        study(url, mark='other')


def test_a_storage_out_of_reach(tmp_path):
    with pytest.raises(StorageError, match='cannot use the storage'):
        Storage('nonsense')
    (tmp_path / 'file').touch()
    with pytest.raises(StorageError, match='cannot use the storage'):
        Storage(f'sqlite:///{tmp_path}/file/search.db')
    with pytest.raises(StorageError) as error:
        Storage('postgresql://me:secret@localhost:1/db')
    assert 'secret' not in str(error.value)


def test_a_full_disk_is_named(url, monkeypatch):
    import sqlite3

    import sqlalchemy

    one = study(url)

    def full(*_, **__):
        cause = sqlite3.OperationalError('database or disk is full')
        raise sqlalchemy.exc.OperationalError('INSERT', {}, cause)

    monkeypatch.setattr(one._study, 'ask', full)
    with pytest.raises(StorageError, match='is full. Make room'):
        one.claim()
