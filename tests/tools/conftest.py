# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What tests of the tools share."""

import sys

import pytest
from mmengine.runner import CheckpointLoader

from mmvpt.errors import run_tool
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


@pytest.fixture
def fails(capsys, monkeypatch):
    """Run a tool as its program does; return the status and the message."""

    from tests.tools import programs

    mains = {
        'train.py': programs.train_tool.main,
        'test.py': programs.test_tool.main,
    }

    def run(tool, *args):
        monkeypatch.setattr(sys, 'argv', [f'tools/{tool}'])
        with pytest.raises(SystemExit) as error:
            run_tool(lambda: mains[tool]([str(arg) for arg in args]))
        message = capsys.readouterr().err.rpartition(f'{tool}: error: ')[2].strip()
        if isinstance(error.value.code, str):  # as Python does at the end
            return 1, error.value.code
        assert 'Traceback' not in message
        return error.value.code, message

    return run
