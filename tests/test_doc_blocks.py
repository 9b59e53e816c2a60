# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Code blocks of the pages, run as they stand but for downloads and epochs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SAID = dict(check=True, capture_output=True, text=True)


def blocks(page, language='python'):
    """Return the blocks of a page in one language."""
    text = (ROOT / page).read_text()
    return re.findall(rf'^```{language}\n(.*?)^```', text, re.S | re.M)


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


def test_readme_commands(photos):
    make, new_task = blocks('README.md', 'bash')
    # tests/test_setup.py has the set-up, tests/tools/test_demo.py the demo
    demo, activate = make.splitlines()
    plan = subprocess.run(['make', '-n', '-C', ROOT, *demo.split()[1:]], **SAID)
    assert '.venv/bin/python tools/demo.py' in plan.stdout
    assert activate == 'source .venv/bin/activate'
    Path('tools').symlink_to(ROOT / 'tools')
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    said = subprocess.run(
        new_task, shell=True, env={**os.environ, 'PATH': path}, **SAID
    )
    for command in ('train', 'test', 'predict'):
        assert f'python tools/{command}.py ' in said.stdout
    assert Path('configs/own/photos.py').is_file()


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
