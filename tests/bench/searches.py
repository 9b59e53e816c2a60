# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A search over two settings, with faked trials."""

from mmvpt.bench.space import Space
from mmvpt.bench.storage import Storage
from mmvpt.bench.strategies import make_strategy
from mmvpt.bench.study import Search, Study

SPACE = {'lr': [0.001, 0.01, 0.1, 1.0, 100.0], 'tokens': [5, 10, 20]}
TRIAL = 'tests.bench.fake:trial'


def start_search(
    folder, url, strategy='tpe', pause=0.0, function=TRIAL, grace=30, seed=0
):
    """Join the search of a folder."""
    plan = make_strategy(strategy, Space(SPACE), seed, trials=10, batch=3, length=9)
    storage = Storage(url, beat=1, grace=grace)
    study = Study(storage, 'study', f'mark of {strategy}', plan)
    spec = dict(folder=str(folder), pause=pause)
    return Search(study, function, spec)


def outcome_lines(search):
    """Return all trials with how they ended."""
    points = {trial.slot: trial.point for trial in search.strategy.planned}
    return [f'{slot} {points[slot]} {search.outcomes[slot]}' for slot in sorted(points)]
