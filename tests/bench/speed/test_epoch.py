# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What an epoch takes beside its steps is measured on a config."""

from tests.engine.miniature import write_config
from tests.tools.programs import load_tool


def test_epochs(tmp_path, capsys):
    words = ['--epochs', '2', '--work-dir', str(tmp_path / 'run')]
    ratios = load_tool('speed/epoch').main([str(write_config(tmp_path)), *words])
    assert len(ratios) == 2 and min(ratios) > 1
    assert 'of the processor, its steps' in capsys.readouterr().out
