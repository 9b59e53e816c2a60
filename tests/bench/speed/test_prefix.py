# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The benchmark of the prefix cache runs, and both ways compute the same."""

import json

import pytest
import torch

from mmvpt.bench.speed import prefix
from mmvpt.errors import UserError
from tests.tools.programs import load_tool

tool = load_tool('speed/prefix')


@pytest.mark.parametrize('dtype', ['fp32', 'bf16'])
def test_prefix(tmp_path, capsys, monkeypatch, dtype):
    seen, loss = set(), prefix.F.cross_entropy
    monkeypatch.setattr(
        prefix.F, 'cross_entropy', lambda x, y: seen.add(x.dtype) or loss(x, y)
    )
    command = (
        '--arch vit-ti --image-size 32 --images 5 --batch-size 2 --num-tokens 3 '
        f'--late 2 --repeats 2 --folder {tmp_path / "cache"} --out {tmp_path / "out"} '
        f'--dtype {dtype}'
    )
    result = tool.main(command.split())
    assert json.loads((tmp_path / 'out.json').read_text())['seconds'] == {
        'without': result['seconds']['without'],
        'with': result['seconds']['with'],
    }
    assert [len(values) for values in result['seconds'].values()] == [3, 3]
    assert seen == {torch.bfloat16 if dtype == 'bf16' else torch.float32}
    assert result['difference'] < 1e-6
    assert result['bytes_per_image'] > 4 * (1 + 4) * 192  # and what names them
    assert {'command', 'machine', 'load_before', 'load_after'} < set(result)
    assert {'faster', 'first_epoch_overhead', 'fingerprint_seconds'} < set(result)
    out = capsys.readouterr().out
    assert 'prompts in the last 2 layers' in out and 'processor time' in out


def test_refuses():
    with pytest.raises(UserError, match='at least 1'):
        tool.main(['--images', '0'])
