# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Trained miniatures that several test files read."""

import pytest

from tests.apis.tuned_runs import classifier, segmentor, train


@pytest.fixture(scope='session')
def trained_classifier(tmp_path_factory):
    """Folder of a run of three classes; its checkpoint is ``run/epoch_1.pth``."""
    root = tmp_path_factory.mktemp('classifier')
    train(classifier(root))
    return root


@pytest.fixture(scope='session')
def trained_segmentor(tmp_path_factory):
    """Folder of a run of four classes; its checkpoint is ``run/iter_2.pth``."""
    root = tmp_path_factory.mktemp('segmentor')
    train(segmentor(root))
    return root
