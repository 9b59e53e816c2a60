# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Trainings of a second whose backbone has frozen weights in a file."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.fileio import load as load_file
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from mmvpt.checkpoint import use_safe_loading
from tests.engine import miniature

DAVPT = dict(
    type='DistributionAwarePrompt',
    num_guided_tokens=2,
    num_tokens=2,
    mapping='balanced',
)
PROMPTS = {
    'vpt-shallow': dict(type='ShallowPrompt', num_tokens=3),
    'vpt-deep': dict(type='DeepPrompt', num_tokens=3),
    'gated': dict(type='GatedPrompt', num_tokens=3),
    'vapt': dict(type='AdaptivePrompt', num_tokens=3, kernel_size=2, bottleneck=4),
    'davpt-plus': dict(DAVPT, num_classes=3),
    'e2vpt': dict(type='KeyValuePrompt', num_tokens=3, num_key_values=2),
    'cvpt': dict(type='CrossPrompt', num_tokens=3),
    'rein': dict(type='RefiningPrompt', num_tokens=4, rank=2),
    'sa2vp': dict(type='SpatialPrompt', rank=2),
    'vfpt': dict(type='FourierPrompt', num_tokens=4),
    'bpt': dict(
        type='BilinearPrompt', num_tokens=3, rank=4, init='whitened', tuned_bases=0
    ),
    'provpt': dict(type='RelocatedPrompt', num_tokens=2),
    'spt': dict(type='SelfPrompt', num_tokens=2),
    'vipamin': dict(type='VipaminPrompt', num_tokens=2, num_matches=2),
    'pae': dict(
        type='EvolvingPrompt',
        num_tokens=2,
        koopman_dims=4,
        window=8,
        stride=4,
    ),
}
#: Hooks that methods train with.
HOOKS = {
    'provpt': [dict(type='mmvpt.PromptRelocationHook', begin=0, allocation='random')],
    'sa2vp': [dict(type='mmvpt.CompanionLossHook')],
}
SEG_CLASSES = ('sky', 'road', 'tree', 'car')
PALETTE = ((10, 20, 30), (200, 100, 0), (0, 160, 0), (0, 0, 250))


def write_frozen(path, backbone, seed=0):
    """Write the frozen weights of a backbone's config, random ones."""
    backbone = dict(backbone, prompt=None, tunable='none', init_cfg=None)
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        state = MODELS.build(backbone).state_dict()
    generator = torch.Generator().manual_seed(seed)
    for value in state.values():
        value += 0.1 * torch.randn(value.shape, generator=generator)
    torch.save(state, path)
    return path


def classifier(root, method='vpt-deep', tuned_only=True, arch=None, **changes):
    """Return the config of a miniature run; frozen weights lie in ``root``."""
    data = root / 'data'
    config = miniature.config(
        data if data.exists() else miniature.write_data(root),
        work_dir=str(root / 'run'),
        log_level='WARNING',
        default_hooks__checkpoint__tuned_only=tuned_only,
        train_cfg__max_epochs=1,
    )
    backbone = config.model.backbone
    backbone.prompt = dict(PROMPTS[method])
    backbone.arch = arch or backbone.arch
    config.custom_hooks = [dict(hook) for hook in HOOKS.get(method, ())]
    if method == 'pae':
        backbone.arch.num_layers = 3  # its losses couple layers behind the first
    if method == 'davpt-plus':
        backbone.tunable = 'davpt+'
    weights = root / 'vit.pth'
    if not weights.exists():
        write_frozen(weights, backbone)
    backbone.init_cfg = dict(type='Pretrained', checkpoint=str(weights))
    config.merge_from_dict({key.replace('__', '.'): v for key, v in changes.items()})
    return config


def write_scenes(root, number=4):
    """Write images of 24x32 pixels and their maps."""
    rng = np.random.default_rng(0)
    for kind in ('images', 'maps'):
        (root / 'scenes' / kind).mkdir(parents=True, exist_ok=True)
    for i in range(number):
        shape = (24, 32) if i % 2 else (30, 26)
        seg_map = cv2.resize(
            rng.integers(0, 4, (3, 4), dtype=np.uint8),
            shape[::-1],
            interpolation=cv2.INTER_NEAREST,
        )
        image = np.array(PALETTE, dtype=np.uint8)[seg_map]
        noise = rng.integers(0, 40, image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(str(root / 'scenes/images' / f'{i}.png'), image)
        cv2.imwrite(str(root / 'scenes/maps' / f'{i}.png'), seg_map)
    return root / 'scenes'


def segmentor(root, method='vpt-deep', tuned_only=True, mode='whole', **changes):
    """Return the config of a miniature segmentation with a BatchNorm in its head."""
    data = root / 'scenes' if (root / 'scenes').exists() else write_scenes(root)
    base = classifier(root, method, tuned_only)
    backbone = base.model.backbone
    last = backbone.arch.num_layers - 1
    backbone.update(out_type='featmap', out_indices=[0, last], final_norm=False)
    if method == 'davpt-plus':
        backbone.prompt.num_classes = 4
    load = [dict(type='LoadImageFromFile')]
    annotations = dict(type='LoadAnnotations')

    def loader(pipeline, **kwargs):
        return dict(
            batch_size=1,
            num_workers=0,
            dataset=dict(
                type='BaseSegDataset',
                data_root=str(data),
                metainfo=dict(classes=SEG_CLASSES, palette=PALETTE),
                data_prefix=dict(img_path='images', seg_map_path='maps'),
                img_suffix='.png',
                pipeline=[*load, *pipeline, dict(type='PackSegInputs')],
            ),
            **kwargs,
        )

    crop = dict(type='RandomCrop', crop_size=(16, 16))
    resize = dict(type='Resize', scale=(64, 32), keep_ratio=True)
    train = loader(
        [annotations, crop],
        sampler=dict(type='mmvpt.SeededInfiniteSampler', shuffle=True),
    )
    test = loader(
        [resize, annotations], sampler=dict(type='DefaultSampler', shuffle=False)
    )
    test_cfg = dict(mode=mode)
    if mode == 'slide':
        test_cfg.update(crop_size=(16, 16), stride=(11, 11))
    norm = dict(type='BN', requires_grad=True)
    hooks = dict(base.default_hooks.to_dict())
    for name in ('num_classes', 'visualization', 'tuned_parameters'):
        hooks.pop(name)
    hooks['checkpoint'].update(by_epoch=False, interval=2)
    config = Config(
        dict(
            base.to_dict(),
            default_scope='mmseg',
            model=dict(
                type='EncoderDecoder',
                data_preprocessor=dict(
                    type='SegDataPreProcessor',
                    mean=[123.675, 116.28, 103.53],
                    std=[58.395, 57.12, 57.375],
                    bgr_to_rgb=True,
                    size=(16, 16),
                ),
                backbone=backbone.to_dict(),
                decode_head=dict(
                    type='FCNHead',
                    in_channels=32,
                    in_index=1,
                    channels=8,
                    num_convs=1,
                    concat_input=False,
                    num_classes=4,
                    norm_cfg=norm,
                ),
                test_cfg=test_cfg,
            ),
            data_preprocessor=None,
            optim_wrapper=dict(
                type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, momentum=0.9)
            ),
            visualizer=dict(type='SegLocalVisualizer', vis_backends=[]),
            default_hooks=hooks,
            custom_hooks=[],  # for classification alone
            train_dataloader=train,
            val_dataloader=None,
            val_evaluator=None,
            val_cfg=None,
            test_dataloader=test,
            test_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=2),
            param_scheduler=None,
        )
    )
    config.merge_from_dict({key.replace('__', '.'): v for key, v in changes.items()})
    return config


def train(config, resume=None):
    """Train a config and return the runner."""
    use_safe_loading()
    if resume is not None:
        config.load_from, config.resume = str(resume), True
    with DefaultScope.overwrite_default_scope(config.default_scope):
        runner = Runner.from_cfg(config)
        runner.train()
    return runner


def test(config, checkpoint):
    """Test as tools/test.py does and return the dumped predictions by image."""
    use_safe_loading()
    for field in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        config[field] = None
    for field in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        config[field] = None
    config.load_from, config.resume = str(checkpoint), False
    config.custom_hooks = [dict(type='mmvpt.CompleteWeightsHook')]
    out = Path(config.work_dir) / 'dumped.pkl'
    with DefaultScope.overwrite_default_scope(config.default_scope):
        runner = Runner.from_cfg(config)
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=str(out)))
        runner.test()
    return load_file(out)


test.__test__ = False  # a helper, whatever its name
