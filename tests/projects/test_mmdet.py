# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The detector of projects/mmdet, on drawn squares; needs mmdetection."""

import json
import sys

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from tests.projects import compiled_ops
from tests.tools.programs import ROOT, test_tool, train_tool

pytest.importorskip('mmdet', reason='mmdetection is not installed')
STANDS_IN = compiled_ops.provide()
CONFIG = ROOT / 'projects/mmdet/configs/davpt-plus_retinanet_coco.py'
CLASSES = ('red', 'green', 'blue')


@pytest.fixture(scope='module', autouse=True)
def projects():
    """Let configs import the project, as tools do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'path', [str(ROOT), *sys.path])
        yield


def write_squares(folder, count):
    """Write images with one or two coloured squares, and their boxes as COCO does."""
    rng = np.random.default_rng(0)
    images, boxes = [], []
    (folder / 'images').mkdir(parents=True)
    for i in range(count):
        width, height = (64, 48) if i % 2 else (48, 64)
        picture = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
        for part in range(1 + i % 2):
            label, side = (i + part) % 3, 16
            x, y = 2 + 20 * part, 4 + 18 * part
            picture[y : y + side, x : x + side, 2 - label] = 250
            box = dict(bbox=[x, y, side, side], area=side**2, iscrowd=0)
            boxes.append(
                dict(box, id=len(boxes) + 1, image_id=i, category_id=label + 1)
            )
        mmcv.imwrite(picture, str(folder / 'images' / f'{i}.png'))
        images.append(dict(id=i, file_name=f'{i}.png', width=width, height=height))
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
    content = dict(images=images, annotations=boxes, categories=categories)
    (folder / 'boxes.json').write_text(json.dumps(content))
    return folder


def small(folder, epochs=2):
    """Return the path of the project's config, made small, for the squares."""
    config = Config.fromfile(CONFIG)
    model = config.model
    model.backbone.update(
        arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
        img_size=64,
        patch_size=8,
        init_cfg=None,
    )
    model.backbone.prompt.update(num_classes=3, num_guided_tokens=2, num_tokens=2)
    model.neck.update(in_channels=16, out_channels=8, num_outs=3)
    head = model.bbox_head
    head.update(num_classes=3, in_channels=8, stacked_convs=1, feat_channels=8)
    head.anchor_generator.strides = [4, 8, 16]
    model.test_cfg.score_thr = 0.0
    for name in ('train', 'val', 'test'):
        loader = config[f'{name}_dataloader']
        loader.update(num_workers=0, batch_size=3)
        loader.dataset.update(
            data_root=str(folder),
            ann_file='boxes.json',
            data_prefix=dict(img='images'),
            metainfo=dict(classes=CLASSES),
        )
        next(s for s in loader.dataset.pipeline if s.type == 'Resize').scale = (64, 64)
    for name in ('val_evaluator', 'test_evaluator'):
        config[name].ann_file = str(folder / 'boxes.json')
    config.param_scheduler = None
    config.train_cfg.update(max_epochs=epochs, val_interval=epochs)
    path = folder / f'small{epochs}.py'
    config.dump(path)
    return str(path)


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Two epochs at once, and one epoch, resumed for the other."""
    root = tmp_path_factory.mktemp('mmdet')
    data = write_squares(root / 'data', 6)
    with DefaultScope.overwrite_default_scope(None):
        runner = train_tool.main([small(data), '--work-dir', str(root / 'whole')])
        train_tool.main([small(data, epochs=1), '--work-dir', str(root / 'parts')])
        resumed = [small(data), '--work-dir', str(root / 'parts'), '--resume']
        return root, data, runner, train_tool.main(resumed)


def test_trains_with_guided_prompts(runs):
    _, _, runner, _ = runs
    scalars = runner.message_hub.log_scalars
    for name in ('loss_cls', 'loss_bbox', 'loss_metric_visual', 'loss_metric_cls'):
        values = scalars[f'train/{name}'].data[0]
        assert len(values) == 4 and np.isfinite(values).all()
    assert scalars['train/loss_metric_visual'].data[0].max() > 0
    prompt = runner.model.backbone.prompt
    assert set(prompt.class_to_prompt.tolist()) == {0, 1}
    assert (
        prompt.class_counts == 0
    ).all()  # counted, then used at the end of the epoch
    trained = {n for n, p in runner.model.named_parameters() if p.requires_grad}
    assert {n for n in trained if n.startswith('backbone.layers')} == {
        f'backbone.layers.{i}.attn.tuned_bias.{part}'
        for i in range(2)
        for part in ('key', 'value')
    }
    assert any(n.startswith('neck.') for n in trained)
    assert scalars['val/coco/bbox_mAP'].current() >= 0


def test_resumes_exactly(runs):
    _, _, whole, parts = runs
    first, second = whole.model.state_dict(), parts.model.state_dict()
    assert first.keys() == second.keys()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert not differing


def test_tests_a_checkpoint(runs):
    root, data, runner, _ = runs
    with DefaultScope.overwrite_default_scope(None):
        metrics = test_tool.main(
            [
                small(data),
                str(root / 'whole/epoch_2.pth'),
                '--work-dir',
                str(root / 'test'),
            ]
        )
    last = runner.message_hub.get_scalar('val/coco/bbox_mAP').current()
    assert metrics['coco/bbox_mAP'] == pytest.approx(last)


def test_pyramid():
    with DefaultScope.overwrite_default_scope('mmdet'):
        from projects.mmdet.simple_feature_pyramid import SimpleFeaturePyramid

        neck = SimpleFeaturePyramid(16, out_channels=8, num_outs=5)
        unused, features = torch.randn(2, 4, 2, 2), torch.randn(2, 16, 8, 6)
        shapes = [tuple(out.shape) for out in neck([unused, features])]
        assert shapes == [
            (2, 8, height, width)
            for height, width in ((32, 24), (16, 12), (8, 6), (4, 3), (2, 2))
        ]
        with pytest.raises(ValueError, match='descending'):
            SimpleFeaturePyramid(16, scales=(1, 2))
        with pytest.raises(ValueError, match='at least the 4 scales'):
            SimpleFeaturePyramid(16, num_outs=3)
