# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The benchmark of data runs, and its batches are those that training sees."""

import json

import torch

from tools.benchmark import data


def test_data(tmp_path):
    command = (
        '--arch vit-ti --batch-size 2 --images 3 --width 40 --height 30 --repeats 2 '
        f'--num-tokens 3 --out {tmp_path / "out"}'
    )
    result = data.main(command.split())
    assert json.loads((tmp_path / 'out.json').read_text())['settings']['images'] == 3
    assert set(result['seconds']) == {'step', 'in_memory', 'from_files'}
    assert all(len(values) == 2 for values in result['seconds'].values())
    assert set(result['part_of_step']) == {'in_memory', 'from_files'}


def test_batches_are_the_same_from_memory_and_files(tmp_path):
    data.write_task(tmp_path, 3, (30, 40))
    batches = [data.loader(str(tmp_path), keep, 2) for keep in (True, False)]
    for _ in range(3):
        first, second = (batch() for batch in batches)
        assert first.shape == (2, 3, 224, 224) and first.dtype == torch.float32
        assert torch.equal(first, second)
