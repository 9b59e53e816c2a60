# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Which points are tried, whatever the order in which trials end."""

import pytest

from mmvpt.bench.space import Space
from mmvpt.bench.strategies import (
    ASHA,
    TPE,
    Coordinate,
    Fixed,
    Grid,
    Outcome,
    curve,
    make_strategy,
)
from tests.bench.fake import value_of

SPACE = {'lr': [0.001, 0.01, 0.1, 1.0], 'tokens': [5, 10, 20]}


def outcome(strategy, planned):
    value = value_of(strategy.space.overrides(planned.point))
    steps = {1: value / 2, 3: value * 0.9}
    for step, threshold in planned.thresholds.items():
        if steps[step] < threshold:
            kept = {k: v for k, v in steps.items() if k <= step}
            return Outcome('pruned', None, kept, float(step))
    return Outcome('complete', value, steps, 9.0)


def search(strategy, shuffled=False):
    finished = {}
    while (plan := strategy.plan(finished)) is not None:
        left = [trial for trial in plan if trial.slot not in finished]
        trial = left[-1 if shuffled else 0]
        finished[trial.slot] = outcome(strategy, trial)
    return finished


def points(strategy):
    return [trial.point for trial in strategy.planned]


def test_grid_tries_every_point_once():
    grid = Grid(Space(SPACE))
    finished = search(grid)
    assert len(finished) == grid.total == 12 == len(set(points(grid)))
    best = grid.best(finished)
    assert grid.space.overrides(best.point) == {'lr': 0.1, 'tokens': 10}


def test_equal_trials_go_to_the_earlier_point():
    grid = Grid(Space(SPACE))
    grid.plan({})
    same = {slot: Outcome('complete', 50.0) for slot in range(12)}
    assert grid.best(same).point == (0, 0)
    same[0] = Outcome('diverged', None)
    assert grid.best(same).point == (0, 1)
    assert grid.best({0: Outcome('diverged', None)}) is None


def test_coordinate_goes_dimension_by_dimension():
    way = Coordinate(Space(SPACE, start={'lr': 0.01, 'tokens': 5}))
    finished = search(way)
    assert len(finished) == way.total == 1 + 3 + 2
    assert points(way)[0] == (1, 0)
    assert {p[1] for p in points(way)[:4]} == {0}
    assert {p[0] for p in points(way)[4:]} == {2}, 'the best rate is kept'
    assert way.space.overrides(way.best(finished).point) == {'lr': 0.1, 'tokens': 10}


def test_fixed_tries_the_config_alone():
    fixed = Fixed(Space(SPACE))
    assert points(fixed) == [] and fixed.plan({})[0].point == ()
    assert fixed.plan({0: Outcome('complete', 1.0)}) is None
    assert fixed.space.overrides(()) == {}


@pytest.mark.parametrize('kind', [TPE, ASHA])
def test_the_order_of_ends_does_not_matter(kind):
    pytest.importorskip('optuna')
    found = []
    for shuffled in (False, True):
        extra = dict(length=9) if kind is ASHA else {}
        strategy = kind(Space(SPACE), trials=10, batch=3, **extra)
        finished = search(strategy, shuffled)
        found.append((points(strategy), sorted(finished.items())))
    assert found[0] == found[1]
    assert len(set(found[0][0])) == 10, 'a point was tried twice'
    other = TPE(Space(SPACE), seed=1, trials=10, batch=3)
    search(other)
    assert points(other) != found[0][0]


def test_a_search_goes_on_where_it_was():
    pytest.importorskip('optuna')
    whole = TPE(Space(SPACE), trials=9, batch=3)
    finished = search(whole)
    some = {slot: finished[slot] for slot in (0, 1, 2, 4)}
    again = TPE(Space(SPACE), trials=9, batch=3)
    plan = again.plan(some)
    assert [trial.slot for trial in plan] == [3, 4, 5]
    assert points(again) == points(whole)[:6]


def test_tpe_searches_ranges():
    pytest.importorskip('optuna')
    space = Space({'lr': dict(low=1e-4, high=10.0, log=True), 'tokens': [5, 10, 20]})
    tpe = TPE(space, trials=25, batch=5)
    finished = search(tpe)
    assert all(1e-4 <= point[0] <= 10 for point in points(tpe))
    best = space.overrides(tpe.best(finished).point)
    assert 0.02 < best['lr'] < 0.5
    with pytest.raises(ValueError, match='is a range'):
        Grid(space)


def test_asha_stops_what_is_behind():
    pytest.importorskip('optuna')
    asha = ASHA(Space(SPACE), length=9, trials=12, batch=4)
    assert (asha.interval, asha.rungs) == (1, [1, 3])
    finished = search(asha)
    assert all(not trial.thresholds for trial in asha.planned[:4])
    states = [finished[slot].state for slot in range(12)]
    assert states[:4] == ['complete'] * 4 and 'pruned' in states
    cost = sum(o.cost for o in finished.values())
    assert cost < 0.8 * 12 * 9
    best = asha.best(finished)
    assert asha.space.overrides(best.point) == {'lr': 0.1, 'tokens': 10}
    # the best third of what earlier rounds reached goes on
    second = asha.planned[4].thresholds[1]
    first = sorted((finished[s].steps[1] for s in range(4)), reverse=True)
    assert second == first[1]
    with pytest.raises(ValueError, match='no room'):
        ASHA(Space(SPACE), length=1)
    assert make_strategy('asha', Space(SPACE), 0, 4, 2, length=1).name == 'tpe'
    with pytest.raises(ValueError, match='unknown strategy'):
        make_strategy('luck', Space(SPACE), 0, 4, 2, length=9)


def test_curve_counts_the_cost_of_all_trials():
    outcomes = {
        1: Outcome('pruned', None, {1: 3.0}, 1.0),
        0: Outcome('complete', 50.0, {}, 4.0),
        2: Outcome('complete', 60.0, {}, 4.0),
    }
    assert curve(outcomes) == [(4.0, 50.0), (5.0, 50.0), (9.0, 60.0)]
