# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The notebooks run from the first cell to the last, without Jupyter."""

import json
import sys
import tempfile
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader

NOTEBOOKS = sorted((Path(__file__).parents[1] / 'docs').glob('**/*.ipynb'))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Start in an empty folder and undo what a notebook does to this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    monkeypatch.setattr(sys, 'path', list(sys.path))
    schemes = dict(CheckpointLoader._schemes)
    with DefaultScope.overwrite_default_scope(None):
        yield tmp_path
    CheckpointLoader._schemes.clear()
    CheckpointLoader._schemes.update(schemes)


@pytest.mark.sweep
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.name)
def test_runs(path, elsewhere):
    cells = [
        cell
        for cell in json.loads(path.read_text(encoding='utf-8'))['cells']
        if cell['cell_type'] == 'code'
    ]
    assert cells
    scope = {}
    for number, cell in enumerate(cells, 1):
        where = f'{path.name}, code cell {number}'
        exec(compile(''.join(cell['source']), where, 'exec'), scope)
        # what is shown was shown by a run from top to bottom, and is small
        assert cell['execution_count'] == number, where
        shown = [output['output_type'] for output in cell['outputs']]
        assert set(shown) <= {'stream'}, where
    assert path.stat().st_size < 20_000
