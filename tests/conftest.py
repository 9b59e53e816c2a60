# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What all tests share."""

import gc
import os

os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest  # noqa: E402
import torch  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402

from tests.quick import spare  # noqa: E402

torch.set_num_threads(1)
spare()


@pytest.fixture(scope='module', autouse=True)
def frozen_heap():
    """Keep what is loaded out of the garbage collections of mmengine's datasets.

    Every dataset asks for one; over all modules and tests each takes longer than a
    miniature's epoch.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def mmpretrain_scope():
    """Build every test's objects as a config with mmpretrain's scope would."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield
