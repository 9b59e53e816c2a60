# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The settings of docs/loggers.md, each in a run of a second."""

import json
import re

import pytest
from mmengine.config import Config

from mmvpt.engine.run import train

from .miniature import ROOT, write_config

BLOCKS = re.findall(
    r'^```python\n(.*?)^```', (ROOT / 'docs/loggers.md').read_text(), re.S | re.M
)
NAMES = {'loss', 'lr', 'accuracy/top1'}


def run(folder, package):
    """Train with the settings for a package; return the names in the local scalars."""
    pytest.importorskip(package, reason='comes with `make test-all`')
    (block,) = (block for block in BLOCKS if package in block.lower())
    block = block.replace('work_dirs', str(folder))
    settings = Config.fromstring(block, '.py').to_dict()
    config = Config.fromfile(str(write_config(folder)))
    config.merge_from_dict(settings)
    train(config, work_dir=str(folder / 'run'))
    (scalars,) = (folder / 'run').glob('*/vis_data/scalars.json')
    return {
        name for row in scalars.read_text().splitlines() for name in json.loads(row)
    }


@pytest.mark.sweep
def test_tensorboard(tmp_path):
    assert run(tmp_path, 'tensorboard') >= NAMES
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = (tmp_path / 'run').glob('*/vis_data/events.*')
    accumulator = EventAccumulator(str(events)).Reload()
    assert {*accumulator.Tags()['scalars']} >= NAMES


@pytest.mark.sweep
def test_wandb(tmp_path, monkeypatch):
    monkeypatch.setenv('WANDB_DIR', str(tmp_path))
    assert run(tmp_path, 'wandb') >= NAMES
    import wandb

    wandb.finish()
    (log,) = (tmp_path / 'run').rglob('*.wandb')
    assert all(name.encode() in log.read_bytes() for name in NAMES)


@pytest.mark.sweep
def test_mlflow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # artifacts go to ./mlruns
    assert run(tmp_path, 'mlflow') >= NAMES
    import mlflow

    mlflow.end_run()
    client = mlflow.MlflowClient(f'sqlite:///{tmp_path}/mlflow.db')
    (run_,) = client.search_runs([client.get_experiment_by_name('mmvpt').experiment_id])
    assert run_.data.metrics.keys() >= NAMES
