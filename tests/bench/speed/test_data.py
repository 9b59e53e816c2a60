# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The benchmark of data runs, and its batches are those that training sees."""

import json

import pytest
import torch

from mmvpt.bench.speed import data
from mmvpt.errors import UserError
from tests.tools.programs import load_tool

tool = load_tool('speed/data')


def command(tmp_path, *more):
    small = (
        '--arch vit-ti --batch-size 2 --images 3 --width 40 --height 30 --repeats 2 '
        f'--num-tokens 3 --out {tmp_path / "out"}'
    )
    return [*small.split(), *more]


@pytest.mark.parametrize('workers', ['0', '1'])
def test_data(tmp_path, capsys, workers):
    result = tool.main(command(tmp_path, '--workers', workers))
    assert json.loads((tmp_path / 'out.json').read_text())['settings']['images'] == 3
    assert set(result['seconds']) == {'in_memory', 'from_files'}
    for seconds in result['seconds'].values():
        assert set(seconds) == {'batch', 'step'}
        assert all(len(values) == 2 for values in seconds.values())
    assert set(result['part_of_step']) == {'in_memory', 'from_files'}
    assert ('of the processor' in capsys.readouterr().out) == (workers == '0')


def test_bad_input(tmp_path):
    with pytest.raises(UserError, match='must be at least 1, --workers 0'):
        tool.main(command(tmp_path, '--workers', '-1'))


def test_batches_are_the_same_from_memory_and_files(tmp_path):
    data.write_task(tmp_path, 3, (30, 40))
    batches = [data.loader(str(tmp_path), keep, 2, 0, 'cpu') for keep in (True, False)]
    for size in (2, 1, 2):  # an epoch and a half
        first, second = map(next, batches)
        assert first.shape == (size, 3, 224, 224) and first.dtype == torch.float32
        assert torch.equal(first, second)
