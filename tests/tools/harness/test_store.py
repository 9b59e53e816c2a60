# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Trials in a storage: claimed once, given up when their owner dies, counted once."""

import multiprocessing
import os

import pytest

pytest.importorskip('optuna')

from tests.tools.harness.searches import outcome_lines, start_search
from tools.harness.crew import Crew
from tools.harness.drive import drive
from tools.harness.store import StorageError, StudyStore
from tools.harness.strategies import Outcome, Planned

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
    monkeypatch.setattr('tools.harness.store.time.monotonic', lambda: clock[0])
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
    search = start_search(
        tmp_path, url, 'grid', function='tests.tools.harness.fake:broken'
    )
    with Crew(1) as crew:
        drive(crew, [search], poll=0.05)
        assert 'this setting is broken' in search.failures[0]
        (tmp_path / 'broken').unlink()
        search = start_search(
            tmp_path, url, 'grid', function='tests.tools.harness.fake:broken'
        )
        drive(crew, [search], poll=0.05)
    assert not search.failures and len(search.outcomes) == 15


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
