# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What tests of the tools share."""

import pytest
from mmengine.runner import CheckpointLoader

from tests.engine.miniature import write_config


@pytest.fixture(autouse=True)
def restore_loaders():
    """Undo what the tools do to mmengine's checkpoint loaders."""
    schemes = dict(CheckpointLoader._schemes)
    yield
    CheckpointLoader._schemes.clear()
    CheckpointLoader._schemes.update(schemes)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A config, and a work dir it was trained in."""
    from tests.tools.programs import train_tool

    root = tmp_path_factory.mktemp('trained')
    config = write_config(root)
    train_tool.main([str(config), '--work-dir', str(root / 'run')])
    return config, root / 'run'
