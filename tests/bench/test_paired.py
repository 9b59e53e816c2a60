# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Paired differences against scipy's paired t-test."""

import pytest
from scipy.stats import ttest_rel

from mmvpt.bench import paired
from mmvpt.bench.collect import collect
from mmvpt.errors import UserError
from tests.bench.results import runs

OURS = {0: 80.0, 1: 82.5, 2: 81.0, 3: 90.0}
THEIRS = {1: 81.5, 2: 80.5, 3: 85.0, 4: 10.0}


@pytest.fixture
def table():
    records = [
        *runs('birds', OURS, method='ours'),
        *runs('birds', THEIRS, method='theirs'),
        *runs('birds', {1: 50.0}, method='once'),
    ]
    return collect(records)[0][0]


def test_interval_is_that_of_the_paired_t_test(table):
    rows = {row.method: row for row in table.rows}
    found = paired.difference(rows['ours'], rows['theirs'], table.tasks[0])
    common = (1, 2, 3)
    test = ttest_rel([OURS[s] for s in common], [THEIRS[s] for s in common])
    low, high = test.confidence_interval(0.95)
    assert found.seeds == 3
    assert found.mean == pytest.approx((low + high) / 2)
    assert found.half_width == pytest.approx((high - low) / 2)


def test_one_common_seed_tells_nothing(table):
    head, *rows = paired.cells(table, ['theirs'])
    assert head == ['method', 'above theirs']
    shown = dict(rows)
    assert shown['once'] == shown['theirs'] == '–'
    assert shown['ours'].startswith('+2.2 [')


def test_unknown_method_is_named(table):
    with pytest.raises(UserError, match="'others' is no method.*ours"):
        paired.cells(table, ['others'])
