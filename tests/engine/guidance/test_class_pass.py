# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The pipeline of evaluation is found wherever a config may keep it."""

import pytest

from mmvpt.engine.guidance.class_pass import eval_pipeline

FOUND = [dict(type='PackInputs')]
PLAIN = dict(pipeline=FOUND)


class Built:
    """A data set that exists already; to look for a key in it would read images."""

    def __getitem__(self, index):
        raise AssertionError('was read')


@pytest.mark.parametrize(
    'dataset',
    [
        PLAIN,
        dict(dataset=PLAIN),
        dict(datasets=[PLAIN]),
        dict(dataset=dict(datasets=[PLAIN])),
    ],
)
def test_pipeline_of_a_data_set_and_of_wrapped_ones(dataset):
    assert eval_pipeline(dict(dataset=dataset)) is FOUND


@pytest.mark.parametrize(
    'loader',
    [None, {}, object(), dict(dataset=Built()), dict(dataset=dict(dataset=Built()))],
)
def test_passes_over_what_has_none(loader):
    assert eval_pipeline(loader) is None
    assert eval_pipeline(loader, dict(dataset=PLAIN)) is FOUND
    assert eval_pipeline() is None
