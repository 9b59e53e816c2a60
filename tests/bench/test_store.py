# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Trials in a storage: claimed once, given up when their owner dies, counted once."""

import multiprocessing
import os

import pytest

pytest.importorskip('optuna')

from mmvpt.bench.pool import Crew
from mmvpt.bench.scheduler import drive
from mmvpt.bench.store import StorageError, StudyStore
from mmvpt.bench.strategies import Outcome, Planned
from tests.bench.searches import outcome_lines, start_search

PLAN = [Planned(slot, (slot,)) for slot in range(3)]
DONE = Outcome('complete', 71.5, {1: 60.0, 3: 70.25}, 4.0)


@pytest.fixture
def url(tmp_path):
    return f'sqlite:///{tmp_path}/search.db'


def store(url, mark='mark', **kwargs):
    return StudyStore(url, 'study', mark, **kwargs)


def test_every_trial_is_claimed_once(url):
    one, two = store(url), store(url)
    claims = [one.claim(PLAN), two.claim(PLAN), one.claim(PLAN)]
    assert [claim.planned.slot for claim in claims] == [0, 1, 2]
    assert two.claim(PLAN) is None
    assert one.finish(claims[0], DONE)
    assert two.outcomes() == {0: DONE}
    assert two.claim(PLAN) is None


@pytest.mark.parametrize('state', ['pruned', 'diverged'])
def test_other_ends_are_kept(url, state):
    one = store(url)
    outcome = Outcome(state, None, {} if state == 'diverged' else {1: 50.0}, 1.0)
    one.finish(one.claim(PLAN), outcome)
    assert store(url).outcomes() == {0: outcome}


def test_a_trial_whose_owner_is_silent_is_tried_again(url, monkeypatch):
    one, two = store(url), store(url, grace=10)
    two.owner = 'elsewhere/1/2'
    lost = one.claim(PLAN)
    clock = [0.0]
    monkeypatch.setattr('mmvpt.bench.store.time.monotonic', lambda: clock[0])
    assert two.reap() == 0
    clock[0] = 9
    one.beat([lost])
    assert two.reap() == 0
    clock[0] = 18  # 9 seconds after the sign of life was seen
    assert two.reap() == 0
    clock[0] = 20
    assert two.reap() == 1
    again = two.claim(PLAN)
    assert again.planned.slot == 0
    assert not one.finish(lost, DONE), 'a trial that was given up counted'
    assert two.finish(again, DONE)
    assert two.outcomes() == {0: DONE}


def test_a_trial_of_a_dead_process_is_tried_again_at_once(url):
    context = multiprocessing.get_context('fork')
    child = context.Process(target=lambda: store(url).claim(PLAN))
    child.start()
    child.join()
    one = store(url)
    assert one.claim(PLAN).planned.slot == 1
    assert one.reap() == 1
    assert one.claim(PLAN).planned.slot == 0


def _claim_all(url, pipe, start):
    mine = store(url)
    start.wait()
    plan = [Planned(slot, (slot,)) for slot in range(6)]
    slots = []
    while claim := mine.claim(plan):
        slots.append(claim.planned.slot)
        mine.finish(claim, DONE)
    pipe.send(slots)


def test_processes_that_race_share_the_trials(url):
    store(url)
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


def test_two_sessions_join_one_search(tmp_path, url):
    first = start_search(tmp_path, url)
    second = start_search(tmp_path, url)
    with Crew(2) as crew:
        drive(crew, [first, second], poll=0.05)
    assert outcome_lines(first) == outcome_lines(second)
    diary = (tmp_path / 'diary').read_text().splitlines()
    assert len(diary) == len(set(diary)) == 10


def test_a_failed_trial_ends_the_search_and_is_tried_again(tmp_path, url):
    (tmp_path / 'broken').touch()
    search = start_search(tmp_path, url, 'grid', function='tests.bench.fake:broken')
    with Crew(1) as crew:
        drive(crew, [search], poll=0.05)
        assert 'this setting is broken' in search.failures[0]
        (tmp_path / 'broken').unlink()
        search = start_search(tmp_path, url, 'grid', function='tests.bench.fake:broken')
        drive(crew, [search], poll=0.05)
    assert not search.failures and len(search.outcomes) == 15


def test_other_settings_under_a_slot_are_refused(tmp_path, url):
    one, two = store(url), store(url)
    one.claim(PLAN)
    other = [Planned(slot, (slot + 1,)) for slot in range(3)]
    with pytest.raises(StorageError, match=r'trial 0 was run with the point \[0\]'):
        two.claim(other)  # it runs
    last_digit = [Planned(0, (1e-13,)), *PLAN[1:]]
    with pytest.raises(StorageError, match='Use the same versions'):
        two.claim(last_digit)
    assert two.claim([Planned(1, (1 + 1e-13,))]) is not None


def test_a_search_with_other_points_is_refused(tmp_path, url):
    first = start_search(tmp_path, url)
    with Crew(1) as crew:
        drive(crew, [first], poll=0.05)
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


def test_a_storage_that_is_lost_for_a_moment(tmp_path, url, monkeypatch):
    pauses = []
    monkeypatch.setattr('mmvpt.bench.store.time.sleep', pauses.append)
    one = store(url)
    lose(monkeypatch, one._storage, 'get_all_trials', 2)
    claim = one.claim(PLAN)
    assert claim.planned.slot == 0 and pauses == [1.0, 2.0]
    lose(monkeypatch, one._storage, 'set_trial_user_attr', 3)
    one.beat([claim])
    lose(monkeypatch, one._storage, 'set_trial_state_values', 3)
    assert one.finish(claim, DONE) and one.outcomes() == {0: DONE}
    lose(monkeypatch, one._storage, 'get_all_trials', 9)
    with pytest.raises(StorageError, match='server closed the connection'):
        one.reap()
    assert sum(pauses[-4:]) < one.grace / 2


def test_a_search_whose_storage_is_lost_fails_alone(tmp_path, url, monkeypatch):
    monkeypatch.setattr('mmvpt.bench.store.PAUSES', ())
    search = start_search(tmp_path, url)
    other = start_search(tmp_path, f'sqlite:///{tmp_path}/other.db', 'grid')
    lose(monkeypatch, search.store._storage, 'get_all_trials', 10**6)
    with Crew(1) as crew:
        drive(crew, [search, other], poll=0.05)
    assert 'cannot use the storage' in search.failures[0]
    assert not other.failures and len(other.outcomes) == 15


def test_attempts_are_counted(url):
    one = store(url)
    for attempt in range(3):
        claim = one.claim(PLAN)
        assert (claim.planned.slot, claim.attempt) == (0, attempt)
        one.fail(claim, 'why')


def test_another_search_under_the_name_is_refused(url):
    store(url)
    with pytest.raises(StorageError, match='of another search'):
        store(url, mark='other')


def test_a_storage_out_of_reach(tmp_path):
    with pytest.raises(StorageError, match='cannot use the storage'):
        store('nonsense')
    (tmp_path / 'file').touch()
    with pytest.raises(StorageError, match='cannot use the storage'):
        store(f'sqlite:///{tmp_path}/file/search.db')
    with pytest.raises(StorageError) as error:
        store('postgresql://me:secret@localhost:1/db')
    assert 'secret' not in str(error.value)


def test_a_full_disk_is_named(url, monkeypatch):
    import sqlite3

    import sqlalchemy

    one = store(url)

    def full(*_, **__):
        cause = sqlite3.OperationalError('database or disk is full')
        raise sqlalchemy.exc.OperationalError('INSERT', {}, cause)

    monkeypatch.setattr(one._storage, 'create_new_trial', full)
    with pytest.raises(StorageError, match='is full. Make room'):
        one.claim(PLAN)


def test_owner_names_this_process(url):
    assert f'/{os.getpid()}/' in store(url).owner
