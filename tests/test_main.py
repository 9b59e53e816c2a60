# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
import subprocess
import sys

import pytest

from mmvpt.__main__ import main


def test_help_lists_the_programs(capsys):
    main(['--help'])
    lines = capsys.readouterr().out.split()
    assert {'train', 'test', 'predict', 'data/prepare', 'weights/convert'} <= {*lines}


def test_an_unknown_command_names_its_neighbours():
    with pytest.raises(SystemExit, match="no command 'trian'; there are .*train"):
        main(['trian'])


def test_a_wheel_without_torch_lists_commands_and_says_what_is_missing():
    for arguments, words in (
        ([], 'usage: mmvpt'),
        (['train'], 'torch and mmengine not'),
    ):
        # -S: no installed packages
        command = [sys.executable, '-S', '-m', 'mmvpt', *arguments]
        out = subprocess.run(command, capture_output=True, text=True)
        assert (out.stdout + out.stderr).startswith(('mmvpt: error: ' + words, words))


def test_a_command_runs_as_its_program_does(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [])
    with pytest.raises(SystemExit) as error:
        main(['train', 'missing.py'])
    assert error.value.code == 1
    assert capsys.readouterr().err.startswith(
        'train.py: error: config missing.py does not exist'
    )
