# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Trainings of a second of mmsegmentation's EncoderDecoder with DA-VPT's hooks."""

import itertools

import torch
import torch.nn.functional as F
from mmengine.dataset import Compose
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.utils.data import Dataset

from . import guided_runs

NUM_CLASSES = 7
_RUNS = itertools.count()
IGNORED = 255
LR = dict(image=0.5, patch=8.0)  # large enough that classes move
SIZE = (24, 20)  # padded to 3x3 patches of 8 pixels


@DATASETS.register_module(force=True)
class ToyScenes(Dataset):
    """Noise of the colour of each region's class; every third scene is all ignored."""

    def __init__(self, size=12, num_classes=NUM_CLASSES, labelled=True, pipeline=()):
        generator = torch.Generator().manual_seed(0)
        colours = torch.randn(num_classes + 1, 3, generator=generator)
        coarse = torch.randint(0, num_classes + 1, (size, 4, 4), generator=generator)
        coarse[::3] = num_classes
        masks = F.interpolate(coarse[:, None].double(), SIZE, mode='nearest')[:, 0]
        masks = masks.long()
        noise = torch.randn(size, 3, *SIZE, generator=generator)
        self.images = colours[masks].movedim(-1, 1) + 0.5 * noise
        self.masks = masks.masked_fill(masks == num_classes, IGNORED)
        self.metainfo = dict(classes=tuple(map(str, range(num_classes))))
        self.labelled = labelled
        self.pipeline = Compose(list(pipeline))

    def __len__(self):
        return len(self.images)

    def get_data_info(self, i):
        return dict(seg_map_path=f'{i}.png')

    def __getitem__(self, i):
        sample = SegDataSample(metainfo=dict(img_shape=SIZE, index=int(i)))
        if self.labelled:
            sample.gt_sem_seg = PixelData(data=self.masks[i][None])
        image = self.images[i].to(torch.get_default_dtype())
        return self.pipeline(dict(inputs=image, data_samples=sample))


def config(work_dir, labels='patch', **changes):
    """Return a config; ``changes`` are dotted keys with ``__`` for the dot."""
    cfg = guided_runs.config(work_dir)
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='ToyScenes'),
        sampler=dict(type='mmvpt.SeededInfiniteSampler', shuffle=True),
    )
    backbone = cfg.model.backbone.to_dict()
    backbone.update(out_type='featmap', out_indices=[1, 2], img_size=24)
    backbone['prompt'].update(num_classes=NUM_CLASSES, labels=labels)
    head = dict(
        type='FCNHead',
        in_channels=16,
        in_index=1,
        channels=16,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=NUM_CLASSES,
        loss_decode=dict(type='CrossEntropyLoss'),
    )
    model = dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='StackImages'),
        backbone=backbone,
        decode_head=head,
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )
    mapping = dict(type='mmvpt.SemanticMappingHook', by_epoch=False, interval=3)
    guidance = dict(type='mmvpt.MetricGuidanceHook', visual_weight=0.1)
    cfg.model = model
    cfg.train_dataloader = loader
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.train_cfg = dict(by_epoch=False, max_iters=7)
    cfg.custom_hooks = [mapping, guidance, dict(type='Witness')]
    cfg.default_scope = 'mmseg'
    # mmengine enters the scope once for each name and second
    cfg.experiment_name = f'guided-seg-{next(_RUNS)}'
    cfg.default_hooks.checkpoint.by_epoch = False
    cfg.optim_wrapper.optimizer.lr = LR[labels]
    cfg.merge_from_dict({key.replace('__', '.'): v for key, v in changes.items()})
    return cfg


def build(work_dir, labels='patch', **changes):
    """Build the runner in the default precision of torch."""
    return Runner.from_cfg(config(work_dir, labels, **changes))
