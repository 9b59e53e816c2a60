# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Searches and benchmarks that are killed end as undisturbed ones."""

import json
import multiprocessing
from collections import Counter

import pytest

pytest.importorskip('optuna')
import optuna

from tests.bench.killable import main
from tests.bench.postgresql import server


def run(folder, kills, seed, strategy, *more):
    """Run sessions; return outcomes, records, what ran to its end and the kills."""
    folder.mkdir()
    args = (folder, kills, seed, strategy, *more)
    session = multiprocessing.get_context('fork').Process(target=main, args=args)
    session.start()
    session.join(400)
    assert session.exitcode == 0
    report = json.loads((folder / 'killed.json').read_text())
    records = {p.name: p.read_text() for p in folder.glob('records/**/*.json')}
    diary = Counter((folder / 'diary').read_text().splitlines())
    return (folder / 'outcomes').read_text(), records, diary, report


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    return {
        strategy: run(tmp_path_factory.mktemp(strategy) / 'run', 0, 0, strategy)
        for strategy in ('asha',)
    }


def check(found, expected, kills):
    outcomes, records, diary, report = found
    assert outcomes == expected[0]
    assert records == expected[1]
    assert len(records) == 3
    # What was killed after its end and before it was recorded ran twice to its end,
    # and counts once. Nothing ran that an undisturbed session does not run.
    assert set(diary) == set(expected[2])
    assert sum(diary.values()) - len(diary) <= kills
    assert report['worker'] + report['session'] <= kills


def test_three_kills(tmp_path, undisturbed):
    expected = undisturbed['asha']
    assert set(expected[2].values()) == {1}, 'a trial ran twice without any kill'
    check(run(tmp_path / 'run', 3, 1, 'asha'), expected, 3)


@pytest.mark.sweep
@pytest.mark.parametrize('seed', range(3))
def test_twenty_kills(tmp_path, undisturbed, seed):
    found = run(tmp_path / 'run', 20, seed, 'asha')
    check(found, undisturbed['asha'], 20)
    assert found[3]['worker'] + found[3]['session'] >= 10


@pytest.mark.sweep
def test_postgresql_gives_what_sqlite_gives(tmp_path, undisturbed):
    """Two sessions on a server, both killed now and then, find what one finds alone."""
    with server() as url:
        outcomes, _, diary, report = run(tmp_path / 'run', 8, 1, 'asha', url, 2)
        study = optuna.load_study(study_name='study', storage=url)
        ends = [t.user_attrs['slot'] for t in study.trials if t.state.name != 'FAIL']
        study._storage._backend.engine.dispose()
    expected = undisturbed['asha']
    assert outcomes == expected[0], 'another winner'
    assert sorted(ends) == list(range(10)), 'a trial was lost, or counts twice'
    trials = {line for line in expected[2] if line.startswith('trial')}
    assert set(diary) == trials
    assert report['session'] >= 1
