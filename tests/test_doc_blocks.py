# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Code blocks of the pages, run as they stand but for downloads and epochs."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def blocks(page):
    """Return the Python blocks of a page."""
    return re.findall(r'^```python\n(.*?)^```', (ROOT / page).read_text(), re.S | re.M)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Give a folder of class folders, ``photos``, in the working directory."""
    rng = np.random.default_rng(0)
    for name in ('daisy', 'rose'):
        (tmp_path / 'photos' / name).mkdir(parents=True)
        for k in range(2):
            pixels = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'photos' / name / f'{k}.jpg')
    monkeypatch.chdir(tmp_path)


def test_readme(photos, monkeypatch, capsys):
    import mmvpt.apis.prompted_classifier as module

    monkeypatch.setattr(module, 'convert', lambda s, pretrained: _random(s))
    (code,) = blocks('README.md')
    exec(code.replace('range(10)', 'range(1)'), {})
    assert capsys.readouterr().out.strip().splitlines()[-1] in ('daisy', 'rose')


def _random(source):
    from mmvpt.weights import convert

    return convert(source, pretrained=False)


def test_plain_loop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(blocks('docs/plain_pytorch.md')[0], names)
    assert torch.isfinite(names['loss'])
    assert (tmp_path / 'tuned.pth').stat().st_size < 3e6


def test_a_trainer_gets_its_loss():
    names = {}
    exec(blocks('docs/plain_pytorch.md')[2], names)
    model = names['ForTrainer']().train()
    out = model(torch.randn(2, 3, 224, 224), torch.tensor([0, 2]))
    assert out['loss'].requires_grad and out['logits'].shape == (2, 3)


@pytest.mark.sweep
def test_lightning(tmp_path):
    lightning = pytest.importorskip('lightning', reason='comes with `make test-all`')
    names = {}
    exec(blocks('docs/plain_pytorch.md')[1], names)
    module = names['Tuning']()
    frozen = [p.clone() for p in module.parameters() if not p.requires_grad]
    tokens = module.model.backbone.prompt.tokens.clone()
    images, labels = torch.randn(4, 3, 224, 224), torch.arange(4) % 3
    data = torch.utils.data.TensorDataset(images, labels)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator='cpu', logger=False, default_root_dir=tmp_path
    )
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=2))
    now = [p for p in module.parameters() if not p.requires_grad]
    assert all(map(torch.equal, frozen, now))
    assert not torch.equal(module.model.backbone.prompt.tokens, tokens)
