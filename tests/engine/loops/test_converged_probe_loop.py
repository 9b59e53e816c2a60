# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The converged probe is the minimum of its objective, and an ordinary checkpoint."""

import importlib.util
import logging

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmvpt.bench import get_protocol
from mmvpt.bench.protocol_config import protocol_config
from tests.engine.miniature import ROOT, config, write_data

SCHEDULE = Config.fromfile(str(ROOT / 'configs/_base_/schedules/probe_lbfgs.py'))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp('data'), num_train=30, num_val=30)


def probe(data, work_dir, l2=(1.0, 0.1, 0.01), **changes):
    """Return the config of a probe on the miniature."""
    changes.setdefault('model__backbone__prompt', None)
    cfg = config(data, work_dir=str(work_dir), **changes)
    cfg.optim_wrapper = SCHEDULE.optim_wrapper
    cfg.param_scheduler = cfg.get('schedule')
    cfg.train_cfg = dict(SCHEDULE.train_cfg, l2=list(l2), **cfg.pop('loop', {}))
    return cfg


def test_agrees_with_scikit_learn(data, tmp_path):
    linear_model = pytest.importorskip('sklearn.linear_model')
    runner = Runner.from_cfg(probe(data, tmp_path, l2=[0.02]))
    runner.train()
    loop, model = runner.train_loop, runner.model
    x, y = loop._features(model, loop.dataloader)
    assert len(x) == 30 and y.tolist() == [i % 3 for i in range(30)]
    z = ((x - x.mean(0)) / x.std(0, unbiased=False)).numpy()
    reference = linear_model.LogisticRegression(
        C=1 / (0.02 * len(x)), tol=1e-10, max_iter=10000
    ).fit(z, y.numpy())
    ours = model.head.fc(x.float()).softmax(1).detach().numpy()
    np.testing.assert_allclose(ours, reference.predict_proba(z), atol=2e-5)


def test_is_a_minimum(data, tmp_path):
    """Checked against the formula, written out in float64."""
    runner = Runner.from_cfg(probe(data, tmp_path, l2=[0.1]))
    runner.train()
    loop = runner.train_loop
    loop.tolerance = 1e-8
    torch.manual_seed(0)
    x, y = torch.randn(20, 4).double(), torch.arange(20) % 3
    start = torch.zeros(3, 4).double(), torch.zeros(3).double()
    weight, bias, gradient, steps = loop.minimise(x, y, 0.1, *start)
    assert gradient <= 1e-8 and steps > 3

    def objective(w, b):
        logits = x @ w.T + b
        loss = sum(logits[i].exp().sum().log() - logits[i, y[i]] for i in range(20))
        return loss / 20 + 0.05 * (w * w).sum()

    least = objective(weight, bias)
    for _ in range(20):
        step = 1e-3 * torch.randn(3, 4).double()
        assert objective(weight + step, bias) > least
        assert objective(weight, bias + step[:, 0]) > least


def test_checkpoint_serves_the_test_tool(data, tmp_path):
    spec = importlib.util.spec_from_file_location('test_tool', ROOT / 'tools/test.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    cfg = probe(data, tmp_path)
    runner = Runner.from_cfg(cfg)
    runner.train()
    path = tmp_path / 'probe.py'
    cfg.dump(str(path))
    metrics = tool.main(
        [str(path), str(tmp_path / 'epoch_1.pth'), '--work-dir', str(tmp_path / 't')]
    )
    assert metrics['accuracy/top1'] > 50
    assert runner.message_hub.get_scalar('val/accuracy/top1').current() > 50


def transforms(config):
    return [step['type'] for step in config['dataset']['pipeline']]


@pytest.mark.parametrize(
    ('protocol', 'stage', 'images'),
    [
        (None, 'final', 30),  # of the test data
        ('vpt', 'search', 30),
        ('vpt', 'final', 60),
        ('single-recipe', 'final', 60),
        ('own', 'final', 30),
    ],
)
def test_images_are_read_without_augmentation(data, tmp_path, protocol, stage, images):
    """Also where a protocol takes validation and test data away."""
    cfg = probe(data, tmp_path, l2=[0.1])
    augmented = transforms(cfg.train_dataloader)
    assert augmented == ['LoadImageFromFile', 'mmvpt.SeededTransforms', 'PackInputs']
    if protocol is None:
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    else:
        spec = dict(metric='accuracy/top1', seed=0, accepted_duplicates=0)
        protocol_config(cfg, spec, get_protocol(protocol), stage)
        # what is recorded
        assert transforms(cfg.train_dataloader) == ['LoadImageFromFile', 'PackInputs']
    loader = Runner.from_cfg(cfg).train_loop.dataloader
    names = [type(step).__name__ for step in loader.dataset.pipeline.transforms]
    assert names == ['LoadImageFromFile', 'PackInputs']
    assert sum(len(batch['inputs']) for batch in loader) == images


def test_other_trainings_keep_their_augmentation(data, tmp_path):
    cfg = config(data, work_dir=str(tmp_path))
    spec = dict(metric='accuracy/top1', seed=0, accepted_duplicates=0)
    protocol_config(cfg, spec, get_protocol('vpt'), 'final')
    assert 'mmvpt.SeededTransforms' in transforms(cfg.train_dataloader)


def test_unconverged_is_said(data, tmp_path, caplog):
    cfg = probe(data, tmp_path, l2=[1e-6], loop=dict(max_steps=1))
    cfg.optim_wrapper = dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, weight_decay=0.0)
    )
    runner = Runner.from_cfg(cfg)
    records = []
    runner.logger.addHandler(handler := logging.Handler())
    handler.emit = lambda record: records.append(record.getMessage())
    runner.train()
    assert any('has not converged' in text for text in records)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(model__backbone__prompt=dict(type='DeepPrompt', num_tokens=2)),
            r'tuned as well: backbone\.prompt\.tokens.*prompt=None',
        ),
        (
            dict(model__head__type='VisionTransformerClsHead'),
            "VisionTransformerClsHead it is NoneType.*'LinearClsHead'",
        ),
        (dict(schedule=dict(type='mmvpt.WarmupCosineLR')), 'param_scheduler=None'),
        (dict(l2=[]), r'l2 must be a list of numbers from 0 on, got \[\]'),
        (dict(l2=[-1.0]), r'l2 must be a list'),
        (dict(loop=dict(tolerance=0)), 'tolerance must be positive'),
        (
            dict(val_cfg=None, val_dataloader=None, val_evaluator=None),
            'choosing among 3 values of l2 needs validation data',
        ),
    ],
)
def test_refusals(data, tmp_path, changes, message):
    changes = dict(changes)
    runner = Runner.from_cfg(
        probe(data, tmp_path, changes.pop('l2', (1, 2, 3)), **changes)
    )
    with pytest.raises(ValueError, match=message):
        runner.train()
