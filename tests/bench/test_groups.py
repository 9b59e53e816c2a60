# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Which mean is the mean of which tasks."""

import pytest

from mmvpt.bench.tables import TITLES, WEIGHTS, means_of_vtab
from mmvpt.zoo.tables import TASKS


def test_the_two_means_of_vtab_differ():
    # groups have 7, 4 and 8 tasks
    groups = {'natural': 70.0, 'specialized': 80.0, 'structured': 30.0}
    assert means_of_vtab(groups) == {
        'mean of groups': 60.0,
        'mean of tasks': pytest.approx((7 * 70 + 4 * 80 + 8 * 30) / 19),
    }
    assert means_of_vtab({'natural': 70.0, 'specialized': 80.0}) == {}


def test_shares_of_the_tasks():
    assert list(WEIGHTS) == list(TITLES)
    assert {name: len(w) for name, w in WEIGHTS.items()} == {
        **{'fgvc': 5, 'natural': 7, 'specialized': 4, 'structured': 8},
        **{'mean of groups': 19, 'mean of tasks': 19},
    }
    for weights in WEIGHTS.values():
        assert sum(weights.values()) == pytest.approx(1)
    for task, weight in WEIGHTS['mean of groups'].items():
        assert weight == WEIGHTS[TASKS[task].group][task] / 3
