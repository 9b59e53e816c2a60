# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""One pass of the un-prompted frozen ViT over the training data."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine import dist
from mmengine.dataset import Compose
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..models.clustering import add_to_classes
from ..registry import DATA_SAMPLERS
from .guided import batch_classes, unwrapped

WRAPPED = ('datasets', 'dataset')  # where wrappers of data sets keep theirs


def pooled(outputs: Sequence[Tensor]) -> Tensor:
    """Return the last output as one vector for each image, (B, C).

    Args:
        outputs: What the backbone returned; a feature map (B, C, H, W) is averaged.
    """
    feature = outputs[-1]
    return feature.flatten(2).mean(dim=2) if feature.dim() == 4 else feature


@contextmanager
def unprompted(backbone: nn.Module, norm_last: bool = False) -> Iterator[None]:
    """Run a prompted backbone as the frozen ViT it is made of, in eval mode.

    Args:
        backbone: The backbone; put back at the end.
        norm_last: Pool, then norm, whatever the backbone does otherwise.
    """
    names = ('prompt', 'pooling', 'norm_before_pool')
    before = {name: getattr(backbone, name) for name in names}
    training = backbone.training
    try:
        backbone.eval()
        backbone.prompt = None
        if backbone.pooling == 'prompts':
            backbone.pooling = 'patches'
        if norm_last:
            backbone.norm_before_pool = False
        yield
    finally:
        for name, value in before.items():
            setattr(backbone, name, value)
        backbone.train(training)


def sum_over_classes(
    runner: Runner,
    backbone: nn.Module,
    num_classes: int,
    *,
    pipeline: str | Sequence[dict] = 'eval',
    samples_per_class: int | None = None,
    batch_size: int | None = None,
    norm_last: bool = False,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Sum the un-prompted features of the training images of each class.

    Args:
        runner: The runner, whose training data is read by all ranks together.
        backbone: The prompted backbone.
        num_classes: Number of classes.
        pipeline: ``eval``: that of validation or test; ``train``; or a list.
        samples_per_class: Images of each class, None for all.
        batch_size: By default that of training.
        norm_last: As in :func:`unprompted`.
        seed: Of draws and augmentation, equal on all ranks.

    Returns:
        Sums, float64 (num_classes, C), and numbers of images, (num_classes,), over all
        ranks and equal on them.
    """
    train = runner.train_dataloader
    dataset = train.dataset
    if pipeline != 'train':
        steps = eval_steps(runner) if pipeline == 'eval' else Compose(list(pipeline))
        dataset = with_pipeline(dataset, steps)
    sampler = dict(
        type='mmvpt.ClassMeansSampler', samples_per_class=samples_per_class, seed=seed
    )
    loader = DataLoader(
        dataset,
        batch_size=batch_size or getattr(train.batch_sampler, 'batch_size', 1),
        sampler=DATA_SAMPLERS.build(dict(sampler, dataset=dataset)),
        num_workers=train.num_workers,
        collate_fn=train.collate_fn,
        generator=torch.Generator().manual_seed(seed),
    )
    preprocess = unwrapped(runner.model).data_preprocessor
    device = backbone.pos_embed.device
    shape = (num_classes, backbone.embed_dims)
    sums = torch.zeros(shape, dtype=torch.float64, device=device)
    counts = torch.zeros(num_classes, dtype=torch.long, device=device)
    with torch.no_grad(), unprompted(backbone, norm_last):
        for batch in loader:
            classes = batch_classes(batch, num_classes).to(device)
            features = pooled(backbone(preprocess(batch, training=False)['inputs']))
            add_to_classes(sums, counts, features, classes)
    dist.all_reduce(sums)
    dist.all_reduce(counts)
    return sums, counts


def eval_steps(runner: Runner) -> Any:
    """Return the pipeline of validation, or of test if there is no validation.

    Raises:
        ValueError: If there is neither.
    """
    loop = runner.val_loop
    if loop is not None:
        return _pipeline_of(loop.dataloader.dataset)
    config = runner.cfg.get('test_dataloader') or {}
    config = config.get('dataset') or {}
    while 'pipeline' not in config and any(name in config for name in WRAPPED):
        inner = next(config[name] for name in WRAPPED if name in config)
        config = inner if isinstance(inner, dict) else inner[0]
    if 'pipeline' not in config:
        raise ValueError(
            "pipeline='eval' takes that of val_dataloader or test_dataloader, but "
            "there is neither. Give SemanticMappingHook a pipeline, or 'train'."
        )
    return Compose(config['pipeline'])


def with_pipeline(dataset: Any, pipeline: Any) -> Any:
    """Return a shallow copy of a data set, or wrapper, with another pipeline."""
    dataset = copy.copy(dataset)
    if hasattr(dataset, 'datasets'):
        dataset.datasets = [with_pipeline(d, pipeline) for d in dataset.datasets]
    elif hasattr(dataset, 'dataset'):
        dataset.dataset = with_pipeline(dataset.dataset, pipeline)
    else:
        dataset.pipeline = pipeline
    return dataset


def _pipeline_of(dataset: Any) -> Any:
    while not hasattr(dataset, 'pipeline'):
        inner = next(getattr(dataset, n) for n in WRAPPED if hasattr(dataset, n))
        dataset = inner[0] if isinstance(inner, list) else inner
    return dataset.pipeline
