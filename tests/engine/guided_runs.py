# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Trainings of a second with DA-VPT's hooks: 9 classes, a ViT of depth 3."""

import copy

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import DATASETS, HOOKS, MODELS
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from mmvpt.engine.forward import unwrapped

NUM_CLASSES = 9


@DATASETS.register_module(force=True)
class ToyImages(Dataset):
    """Noise around one image for each class; classes come in three kinds."""

    def __init__(self, size=36, num_classes=NUM_CLASSES, pipeline=(), labelled=True):
        generator = torch.Generator().manual_seed(0)
        kinds = torch.randn(3, 3, 16, 16, generator=generator)
        own = torch.randn(num_classes, 3, 16, 16, generator=generator)
        noise = torch.randn(size, 3, 16, 16, generator=generator)
        self.labels = [(5 * i) % num_classes for i in range(size)]
        self.images = [
            kinds[y % 3] + 0.5 * own[y] + 0.3 * noise[i]
            for i, y in enumerate(self.labels)
        ]
        self.metainfo = dict(classes=tuple(map(str, range(num_classes))))
        self.pipeline = Compose(list(pipeline))
        self.labelled = labelled

    def __len__(self):
        return len(self.images)

    def get_data_info(self, i):
        return dict(gt_label=self.labels[i])

    def __getitem__(self, i):
        sample = DataSample()
        if self.labelled:
            sample.set_gt_label(self.labels[i])
        image = self.images[i].to(torch.get_default_dtype())
        return self.pipeline(dict(inputs=image, data_samples=sample))


@MODELS.register_module(force=True)
class StackImages(BaseDataPreprocessor):
    """Stacks images and keeps their precision."""

    def __init__(self, batch_augments=None):
        super().__init__()

    def forward(self, data, training=False):
        data = self.cast_data(data)
        return dict(data, inputs=torch.stack(list(data['inputs'])))


@HOOKS.register_module(force=True)
class Witness(Hook):
    """Notes the losses of every iteration and the map after every epoch."""

    priority = 'LOWEST'

    def __init__(self):
        self.losses, self.maps = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({k: float(v) for k, v in outputs.items()})

    def after_train_epoch(self, runner):
        prompt = unwrapped(runner.model).backbone.prompt
        self.maps.append(prompt.class_to_prompt.tolist())


def config(work_dir, **changes):
    """Return a config; ``changes`` are dotted keys with ``__`` for the dot."""
    loader = dict(
        batch_size=6,
        num_workers=0,
        dataset=dict(type='ToyImages'),
        sampler=dict(type='mmvpt.SeededSampler', shuffle=True),
    )
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            work_dir=str(work_dir),
            experiment_name='guided',
            log_level='WARNING',
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1),
                sampler_seed=dict(type='DistSamplerSeedHook'),
                checkpoint=dict(type='mmvpt.AtomicCheckpointHook', interval=1),
                timer=dict(type='IterTimerHook'),
                param_scheduler=None,
                seed=dict(type='mmvpt.SeedHook'),
            ),
            custom_hooks=[
                dict(type='mmvpt.MetricGuidanceHook', visual_weight=0.1),
                dict(type='mmvpt.SemanticMappingHook'),
                dict(type='Witness'),
            ],
            model=dict(
                type='ImageClassifier',
                data_preprocessor=dict(type='StackImages'),
                backbone=dict(
                    type='mmvpt.PromptedVisionTransformer',
                    arch=dict(
                        embed_dims=16,
                        num_layers=3,
                        num_heads=2,
                        feedforward_channels=32,
                    ),
                    img_size=16,
                    patch_size=8,
                    tunable='davpt+',
                    prompt=dict(
                        type='DistributionAwarePrompt',
                        num_classes=NUM_CLASSES,
                        num_guided_tokens=3,
                        num_tokens=2,
                        guided_layers=(1, 2),
                    ),
                ),
                head=dict(
                    type='LinearClsHead', num_classes=NUM_CLASSES, in_channels=16
                ),
            ),
            train_dataloader=loader,
            val_dataloader=dict(
                loader, sampler=dict(type='DefaultSampler', shuffle=False)
            ),
            val_evaluator=dict(type='Accuracy', topk=1),
            train_cfg=dict(by_epoch=True, max_epochs=3, val_interval=1),
            val_cfg=dict(),
            optim_wrapper=dict(
                type='OptimWrapper',
                optimizer=dict(type='SGD', lr=0.5),
                constructor='mmvpt.TunedOptimWrapperConstructor',
            ),
            randomness=dict(seed=0),
            env_cfg=dict(dist_cfg=dict(backend='gloo')),
        )
    )
    changes = copy.deepcopy(changes)  # merging takes things out of them
    cfg.merge_from_dict({key.replace('__', '.'): v for key, v in changes.items()})
    return cfg


def build(work_dir, **changes):
    """Build the runner in the default precision of torch."""
    return Runner.from_cfg(config(work_dir, **changes))


def witness(runner):
    """Return the runner's witness."""
    return next(hook for hook in runner.hooks if isinstance(hook, Witness))
