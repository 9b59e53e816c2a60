# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The benchmark of map updates runs and reports what it did."""

from tests.tools.programs import load_tool


def test_mapping(capsys):
    command = '--classes 30 --prompts 4 --dims 8 --repeats 3'.split()
    seconds = load_tool('speed/mapping').main(command)
    assert len(seconds) == 3 and min(seconds) > 0
    assert '30 classes, 4 prompts, 1 threads' in capsys.readouterr().out
