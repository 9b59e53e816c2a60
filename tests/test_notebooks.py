# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The notebooks run from the first cell to the last, without Jupyter."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader
from PIL import Image

DOCS = Path(__file__).parents[1] / 'docs'
COLAB = DOCS / 'colab.ipynb'  # installs, downloads, shows nothing
NOTEBOOKS = sorted({*DOCS.glob('*.ipynb')} - {COLAB})  # not those of a built site


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


@pytest.mark.sweep
def test_colab_runs_on_a_zip(elsewhere, monkeypatch, capsys):
    from mmvpt.apis import prompted_classifier as module
    from mmvpt.weights import convert

    monkeypatch.setattr(module, 'convert', lambda s, **_: convert(s, pretrained=False))
    rng = np.random.default_rng(0)
    for name in ('daisy', 'rose'):
        folder = elsewhere / 'mine' / 'photos' / name
        folder.mkdir(parents=True)
        for k in range(5):
            pixels = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f'{k}.jpg')
    shutil.make_archive('photos', 'zip', elsewhere / 'mine')
    cells = json.loads(COLAB.read_text(encoding='utf-8'))['cells']
    code = [cell for cell in cells if cell['cell_type'] == 'code']
    install, *others = code
    assert install['metadata']['tags'] == ['install']
    scope = {}
    for cell in others:
        exec(''.join(cell['source']), scope)
        if 'settings' in cell['metadata'].get('tags', ()):
            scope.update(BACKBONE='vit_tiny_patch16_224', EPOCHS=1)
    shown = capsys.readouterr().out
    assert "['daisy', 'rose'] 8 to train, 2 to validate" in shown
    assert 'epoch 1: ' in shown and shown.count('.jpg: ') == 2
    assert not any(cell['outputs'] for cell in code)
