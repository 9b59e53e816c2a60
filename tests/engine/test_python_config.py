# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Pure-Python configs are read as text configs: whatever reads configs reads both."""

import numpy as np
import pytest
import torch

from mmvpt import engine, load
from mmvpt.apis import publish
from mmvpt.apis.export import export
from mmvpt.engine.config_file import load_config
from tests.bench.inline_pool import InlinePool
from tests.engine.miniature import ROOT, config, write_data

BASE = """
from mmpretrain.evaluation import Accuracy
from mmpretrain.datasets import LoadImageFromFile, PackInputs, RandomFlip
from mmpretrain.datasets.transforms.processing import RandomResizedCrop
from mmengine.dataset import DefaultSampler
from mmvpt.datasets import VTAB1k
from mmvpt.datasets.samplers import SeededSampler
from mmvpt.datasets.transforms import SeededTransforms

augment = dict(type=SeededTransforms, transforms=[
    dict(type=RandomResizedCrop, scale=32, backend='cv2'),
    dict(type=RandomFlip, prob=0.5)])
load, pack = dict(type=LoadImageFromFile), dict(type=PackInputs)
train_dataloader = dict(
    batch_size=8, num_workers=0, sampler=dict(type=SeededSampler),
    dataset=dict(type=VTAB1k, task=None, split='train800', data_root='DATA',
                 pipeline=[load, augment, pack]))
val_dataloader = dict(
    batch_size=8, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(type=VTAB1k, task=None, split='val200', data_root='DATA',
                 pipeline=[load, pack]))
test_dataloader = dict(
    batch_size=8, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(type=VTAB1k, task=None, split='test', data_root='DATA',
                 pipeline=[load, pack]))
val_evaluator = dict(type=Accuracy, topk=1)
test_evaluator = dict(type=Accuracy, topk=1)
"""
MAIN = """
from mmengine.config import read_base

with read_base():
    from .data_part import *

from mmengine.optim import OptimWrapper
from mmpretrain.models import ImageClassifier, LinearClsHead
from torch.optim import SGD
from mmvpt.engine.optim import TunedOptimWrapperConstructor, WarmupCosineLR
from mmvpt.models.prompts import DeepPrompt
from mmvpt.models.vit import PromptedVisionTransformer

default_scope = 'mmpretrain'
model = dict(
    type=ImageClassifier,
    backbone=dict(
        type=PromptedVisionTransformer,
        arch=dict(embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=64),
        img_size=32, patch_size=8,
        prompt=dict(type=DeepPrompt, num_tokens=3, drop_rate=0.2)),
    head=dict(type=LinearClsHead, num_classes=3, in_channels=32))
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)
optim_wrapper = dict(
    type=OptimWrapper,
    constructor=TunedOptimWrapperConstructor,
    optimizer=dict(type=SGD, lr=0.1, momentum=0.9, weight_decay=0.001),
    paramwise_cfg=dict(custom_keys={'head.fc.bias': dict(decay_mult=0.0)}))
param_scheduler = dict(type=WarmupCosineLR, warmup=1)
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
val_cfg = dict()
test_cfg = dict()
"""


def plain(value):
    """Leave prefixes of scopes away, which text configs need not write."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return value.removeprefix('mmpretrain.').removeprefix('mmvpt.')
    return value


def test_one_goes_through_everything(tmp_path, monkeypatch):
    data = write_data(tmp_path)
    (tmp_path / 'data_part.py').write_text(BASE.replace('DATA', str(data)))
    path = tmp_path / 'python_style.py'
    path.write_text(MAIN)

    read, text = load_config(path).to_dict(), config(data).to_dict()
    for part in ('model', 'optim_wrapper', 'train_dataloader', 'test_evaluator'):
        wanted = plain(text[part])
        assert plain(read[part]) == wanted, part

    base = f'{ROOT}/configs/_base_/default_runtime.py'
    hooks = load_config(base).default_hooks
    path.write_text(f'{MAIN}\ndefault_hooks = {hooks.to_dict()!r}\n')
    engine.train(path, work_dir=tmp_path / 'run')
    last = tmp_path / 'run' / 'epoch_2.pth'
    metrics = engine.test(path, last, work_dir=tmp_path / 'test', amp=False)
    assert 0 <= metrics['accuracy/top1'] <= 100
    released = publish(last, tmp_path / 'released')
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    tuned = load(path, weights=str(last))
    assert len(tuned.predict(list(images))) == 2 and released.is_file()
    facts = export(tuned, tmp_path / 'model.pt2', 'torch')
    assert facts['largest_difference'] < 1e-5

    pytest.importorskip('optuna')
    from mmvpt.bench import search

    monkeypatch.setattr(search, 'Pool', InlinePool)
    space = tmp_path / 'space.py'
    space.write_text("space = {'optim_wrapper.optimizer.lr': [0.01, 0.1]}\n")
    record = search.search(
        str(path), space=str(space), out=str(tmp_path / 'search'), strategy='grid'
    )
    assert len(record['trials']) == 2
    best = record['best']['overrides']
    chosen = load_config(tmp_path / 'search/best.py')
    lr = chosen.optim_wrapper.optimizer.lr
    assert lr == best['optim_wrapper.optimizer.lr']
    assert plain(chosen.model.to_dict()) == plain(text['model'])


def test_amp_finds_the_wrapper_of_a_class(tmp_path):
    data = write_data(tmp_path)
    (tmp_path / 'data_part.py').write_text(BASE.replace('DATA', str(data)))
    path = tmp_path / 'python_style.py'
    path.write_text(MAIN)
    runner = engine.train(path, work_dir=tmp_path / 'run', amp=True, validate=False)
    assert 'OptimWrapper' != type(runner.optim_wrapper).__name__
    assert torch.isfinite(next(runner.model.parameters())).all()
