# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A training of a second: 32x32 images of 3 classes, a ViT of width 32, depth 2."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import mmcv
import numpy as np
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ('a', 'b', 'c')
NUM_TRAIN = 24
_RUNS = itertools.count()


def write_data(root, num_train=NUM_TRAIN, num_val=9):
    """Write a task in VTAB's layout whose class is the colour that is brightest."""
    rng = np.random.default_rng(0)
    folder = Path(root) / 'data'
    (folder / 'images').mkdir(parents=True)
    (folder / 'classes.txt').write_text('\n'.join(CLASSES) + '\n')
    for split, size in (('train800', num_train), ('val200', num_val), ('test', 9)):
        lines = []
        for i in range(size):
            image = rng.integers(0, 160, (32, 32, 3), dtype=np.uint8)
            image[..., i % 3] += 60
            name = f'images/{split}_{i}.png'
            mmcv.imwrite(image, str(folder / name))
            lines.append(f'{name} {i % 3}')
        (folder / f'{split}.txt').write_text('\n'.join(lines) + '\n')
    write_all(folder)
    return folder


def write_all(folder):
    """List the images of both splits to tune on together, as VTAB's layout does."""
    both = [(folder / f'{split}.txt').read_text() for split in ('train800', 'val200')]
    (folder / 'train800val200.txt').write_text(''.join(both))


def config(data_root, **changes):
    """Return the config of the miniature.

    Args:
        data_root: What :func:`write_data` returned.
        **changes: Dotted keys, with ``__`` for the dot.
    """
    load = [dict(type='LoadImageFromFile')]
    augment = dict(
        type='mmvpt.SeededTransforms',
        transforms=[
            dict(type='RandomResizedCrop', scale=32, backend='cv2'),
            dict(type='RandomFlip', prob=0.5),
        ],
    )

    def loader(split, pipeline, sampler):
        return dict(
            batch_size=8,
            num_workers=0,
            dataset=dict(
                type='mmvpt.VTAB1k',
                task=None,
                split=split,
                data_root=str(data_root),
                pipeline=[*load, *pipeline, dict(type='PackInputs')],
            ),
            sampler=sampler,
        )

    base = Config.fromfile(str(ROOT / 'configs/_base_/default_runtime.py')).to_dict()
    evaluation = dict(type='DefaultSampler', shuffle=False)
    cfg = Config(
        dict(
            base,
            # mmengine names loggers after this and the second
            experiment_name=f'miniature-{next(_RUNS)}',
            model=dict(
                type='ImageClassifier',
                backbone=dict(
                    type='mmvpt.PromptedVisionTransformer',
                    arch=dict(
                        embed_dims=32,
                        num_layers=2,
                        num_heads=4,
                        feedforward_channels=64,
                    ),
                    img_size=32,
                    patch_size=8,
                    prompt=dict(type='DeepPrompt', num_tokens=3, drop_rate=0.2),
                ),
                head=dict(type='LinearClsHead', num_classes=3, in_channels=32),
            ),
            data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
            train_dataloader=loader(
                'train800', [augment], dict(type='mmvpt.SeededSampler')
            ),
            val_dataloader=loader('val200', [], evaluation),
            test_dataloader=loader('test', [], evaluation),
            val_evaluator=dict(type='Accuracy', topk=1),
            test_evaluator=dict(type='Accuracy', topk=1),
            train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
            val_cfg=dict(),
            test_cfg=dict(),
            optim_wrapper=dict(
                type='OptimWrapper',
                constructor='mmvpt.TunedOptimWrapperConstructor',
                optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.001),
                paramwise_cfg=dict(custom_keys={'head.fc.bias': dict(decay_mult=0.0)}),
            ),
            param_scheduler=dict(type='mmvpt.WarmupCosineLR', warmup=1),
        )
    )
    cfg.merge_from_dict({key.replace('__', '.'): v for key, v in changes.items()})
    return cfg


def write_config(root, **changes):
    """Write data and config below ``root`` and return the config's path."""
    path = Path(root) / 'config.py'
    data = Path(root) / 'data'
    config(data if data.exists() else write_data(root), **changes).dump(str(path))
    return path


def environment(**extra):
    """Return the environment of a subprocess."""
    env = dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    env.pop('PYTHONPATH', None)
    env.update(extra)
    return env


def run_tool(*args, tool='train.py', env=None, timeout=120):
    """Run a tool of the tree as a program, without PYTHONPATH."""
    return subprocess.run(
        [sys.executable, str(ROOT / 'tools' / tool), *map(str, args)],
        capture_output=True,
        text=True,
        env=env or environment(),
        timeout=timeout,
        check=False,
    )
