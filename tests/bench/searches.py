# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A search over two settings, with faked trials."""

from mmvpt.bench.scheduler import Search
from mmvpt.bench.space import Space
from mmvpt.bench.store import StudyStore
from mmvpt.bench.strategies import make_strategy

SPACE = {'lr': [0.001, 0.01, 0.1, 1.0, 100.0], 'tokens': [5, 10, 20]}
TRIAL = 'tests.bench.fake:trial'


def start_search(
    folder, url, strategy='tpe', pause=0.0, function=TRIAL, grace=30.0, seed=0
):
    """Join the search of a folder."""
    plan = make_strategy(strategy, Space(SPACE), seed, trials=10, batch=3, length=9)
    store = StudyStore(url, 'study', f'mark of {strategy}', grace)
    spec = dict(folder=str(folder), pause=pause)
    return Search(store, plan, function, spec, lambda _: None)


def outcome_lines(search):
    """Return all trials with how they ended."""
    points = {trial.slot: trial.point for trial in search.strategy.planned}
    return [f'{slot} {points[slot]} {search.outcomes[slot]}' for slot in sorted(points)]
