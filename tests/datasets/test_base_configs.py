# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""configs/_base_/datasets: they load, compose, build and hold to their protocol."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner

from mmvpt.datasets import FGVC, VTAB1k, export_digits
from tests.miniatures import make_fgvc, make_vtab1k

BASE = Path(__file__).resolve().parents[2] / 'configs/_base_/datasets'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def load(name, data_root):
    cfg = Config.fromfile(BASE / f'{name}.py')
    for loader in LOADERS:
        if cfg[loader] is not None:
            cfg[loader].dataset.data_root = str(data_root)
            cfg[loader].num_workers = 0
    return cfg


def first_batch(cfg, loader):
    return next(iter(Runner.build_dataloader(cfg[loader], seed=0)))


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    make_vtab1k(root / 'vtab-1k', 'cifar100')
    make_fgvc(root / 'fgvc', 'cub', size=(40, 60))
    source, target = export_digits(root)
    return dict(
        vtab1k=root / 'vtab-1k',
        vtab1k_final=root / 'vtab-1k',
        fgvc=root / 'fgvc',
        digits=target,
        digits_source=source,
    )


@pytest.mark.parametrize(
    ('name', 'size', 'classes'),
    [
        ('vtab1k', 224, 100),
        ('vtab1k_final', 224, 100),
        ('fgvc', 224, 200),
        ('digits', 32, 5),
        ('digits_source', 32, 20),
    ],
)
def test_config_gives_batches_and_scores(roots, name, size, classes):
    cfg = load(name, roots[name])
    for loader in LOADERS:
        if cfg[loader] is None:
            continue
        batch = first_batch(cfg, loader)
        # TensorFlow's resize, as VTAB-1k is read, does not round.
        dtype = torch.float32 if name.startswith('vtab1k') else torch.uint8
        for image in batch['inputs']:
            assert image.shape == (3, size, size) and image.dtype == dtype
        if loader == 'train_dataloader':
            continue
        evaluator = Evaluator(cfg[loader.replace('dataloader', 'evaluator')])
        samples = batch['data_samples']
        for sample in samples:
            score = torch.arange(classes, 0, -1.0)
            score[sample.gt_label] = classes + 1.0
            sample.set_pred_score(score)
        evaluator.process(samples)
        assert evaluator.evaluate(len(samples))['accuracy/top1'] == 100


def test_protocol_is_free_of_leaks():
    def splits(name):
        cfg = Config.fromfile(BASE / f'{name}.py')
        return [cfg[loader] and cfg[loader].dataset.split for loader in LOADERS]

    assert splits('vtab1k') == ['train800', 'val200', 'test']
    assert splits('vtab1k_final') == ['train800val200', None, 'test']
    assert splits('fgvc') == ['train', 'val', 'test']
    assert splits('digits') == ['train800', 'val200', 'test']
    assert splits('digits_source') == ['train', 'val', 'val']


def test_composes_with_model_and_schedule(tmp_path):
    (tmp_path / 'model.py').write_text("model = dict(type='ImageClassifier')\n")
    (tmp_path / 'schedule.py').write_text('val_cfg = dict()\n')
    (tmp_path / 'config.py').write_text(
        f"_base_ = ['./model.py', '{BASE}/vtab1k_final.py', './schedule.py']\n"
        'val_cfg = None\n'
        "train_dataloader = dict(dataset=dict(task='dtd'))\n"
        "test_dataloader = dict(dataset=dict(task='dtd'))\n"
    )
    cfg = Config.fromfile(tmp_path / 'config.py')
    assert cfg.train_dataloader.dataset.task == cfg.test_dataloader.dataset.task
    assert cfg.train_dataloader.dataset.split == 'train800val200'
    assert cfg.val_dataloader is cfg.val_evaluator is cfg.val_cfg is None
    assert cfg.model.type == 'ImageClassifier'


@pytest.mark.parametrize('half_pixel_centers', [False, True])
def test_vtab_squashes_like_tensorflow(tmp_path, half_pixel_centers):
    """No antialiasing; half-pixel centres, as OpenCV and PyTorch have, by an option."""
    image = np.random.default_rng(0).integers(0, 256, (500, 700, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    (tmp_path / 'all.txt').write_text('image.png 0')
    steps = Config.fromfile(BASE / 'vtab1k.py').pipeline[:2]
    if half_pixel_centers:
        steps[1].half_pixel_centers = True
    dataset = VTAB1k(None, 'all', tmp_path, num_classes=1, pipeline=steps)
    shift = (0, 0)
    if not half_pixel_centers:  # half-pixel centres of an image moved by this are these
        shift = (0.5 - 0.5 * 500 / 224, 0.5 - 0.5 * 700 / 224)
    rows, columns = (
        (np.arange(224) + 0.5) * n / 224 - 0.5 + s for n, s in zip((500, 700), shift)
    )
    grid = np.stack(np.meshgrid(columns / 349.5 - 1, rows / 249.5 - 1), -1)
    expected = torch.nn.functional.grid_sample(
        torch.from_numpy(image).permute(2, 0, 1)[None].double(),
        torch.from_numpy(grid)[None],
        align_corners=True,
        padding_mode='border',
    )
    got = dataset[0]['img'].transpose(2, 0, 1)[None]
    np.testing.assert_allclose(got, expected, atol=1 if half_pixel_centers else 1e-2)


def test_fgvc_keeps_the_aspect_ratio(roots):
    cfg = load('fgvc', roots['fgvc'])
    steps = cfg.train_dataloader.dataset.pipeline[:2]
    sample = FGVC('cub', 'train', roots['fgvc'], pipeline=steps)[0]
    assert sample['img'].shape == (256, 384, 3)


def test_training_images_repeat_with_the_seed(roots):
    cfg = load('fgvc', roots['fgvc'])
    cfg.train_dataloader.batch_size = 4
    one, two = (first_batch(cfg, 'train_dataloader')['inputs'] for _ in range(2))
    for a, b in zip(one, two):
        assert torch.equal(a, b)
