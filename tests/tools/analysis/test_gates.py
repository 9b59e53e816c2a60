# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Gates of a checkpoint become arrays and a picture."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[3]


@pytest.fixture
def gates(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'analysis'))
    return importlib.import_module('gates')


def test_arrays_and_picture(gates, tmp_path, capsys):
    state = {
        'backbone.prompt.gate_logits': torch.tensor([0.0, np.log(3)]),
        'backbone.prompt.temperatures': torch.tensor([1.0, 2.0, 0.5]),
    }
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'tuned.pth')
    gates.main([str(tmp_path / 'tuned.pth'), '--out', str(tmp_path / 'new' / 'g')])
    with np.load(tmp_path / 'new' / 'g.npz') as arrays:
        np.testing.assert_allclose(arrays['gates'], [0.5, 0.75], rtol=1e-6)
        # 0.5 * 0.25 against 0.75
        expected = [1 / 7, 6 / 7]
        np.testing.assert_allclose(arrays['selection_ratio'], expected, rtol=1e-6)
        np.testing.assert_allclose(arrays['temperatures'], [1, 2, 0.5])
    assert (tmp_path / 'new' / 'g.png').read_bytes().startswith(b'\x89PNG')
    assert 'layer  2  gate 0.750000  share 0.8571' in capsys.readouterr().out


def test_other_models_are_refused(gates, tmp_path):
    torch.save({'backbone.prompt.tokens': torch.zeros(2)}, tmp_path / 'vpt.pth')
    with pytest.raises(ValueError, match='has no prompt.gate_logits'):
        gates.read_gates(str(tmp_path / 'vpt.pth'))
