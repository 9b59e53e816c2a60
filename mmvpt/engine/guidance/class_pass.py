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

from mmvpt.registry import DATA_SAMPLERS

from .clustering import add_to_classes, members
from .guided import unwrapped
from .labels import LabelReader

WRAPPED = ('datasets', 'dataset')  # where wrappers of data sets keep theirs


def pooled(outputs: Sequence[Tensor]) -> Tensor:
    """Return the last output as one vector for each image, (B, C).

    Args:
        outputs: What the backbone returned; a feature map (B, C, H, W) is averaged.
    """
    feature = outputs[-1]
    return feature.flatten(2).mean(dim=2) if feature.dim() == 4 else feature


def vectors(outputs: Sequence[Tensor], of_patches: bool) -> Tensor:
    """Return what has a class: patches of the last output, (B * N, C), or images.

    Args:
        outputs: What the backbone returned; for patches feature maps (B, C, H, W).
        of_patches: Whether patches have classes, else see :func:`pooled`.
    """
    if of_patches:
        return outputs[-1].flatten(2).mT.flatten(0, 1)
    return pooled(outputs)


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


@contextmanager
def unmixed(preprocess: nn.Module) -> Iterator[None]:
    """Have a data preprocessor leave out batch augmentation."""
    augments = getattr(preprocess, 'batch_augments', None)
    try:
        if augments is not None:
            preprocess.batch_augments = None
        yield
    finally:
        if augments is not None:
            preprocess.batch_augments = augments


def has_masks(dataset: Any) -> bool:
    """Tell whether a data set is one of segmentation, by what it knows of an image."""
    info = dataset.get_data_info(0) if hasattr(dataset, 'get_data_info') else {}
    return 'seg_map_path' in info


def sum_over_classes(
    runner: Runner,
    backbone: nn.Module,
    num_classes: int,
    *,
    pipeline: str | Sequence[dict] | None = None,
    samples_per_class: int | None = None,
    max_images: int | None = None,
    batch_size: int | None = None,
    norm_last: bool = False,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Sum the un-prompted features of each class in the training images.

    Args:
        runner: The runner, whose training data is read by all ranks together.
        backbone: The prompted backbone.
        num_classes: Number of classes.
        pipeline: ``eval``: that of validation or test; ``train``; or a list. By default
            ``train`` if the data have masks, else ``eval``.
        samples_per_class: Images of each class, None for all.
        max_images: Images in all, drawn at random; None for no limit.
        batch_size: By default that of training.
        norm_last: As in :func:`unprompted`.
        seed: Of draws and augmentation, equal on all ranks.

    Returns:
        Sums, float64 (num_classes, C), and numbers of images or patches,
        (num_classes,), over all ranks and equal on them.

    Raises:
        ValueError: If labels are missing or wrong, or there is no such pipeline.
    """
    train = runner.train_dataloader
    dataset = train.dataset
    if pipeline is None:
        pipeline = 'train' if has_masks(dataset) else 'eval'
    crops = pipeline == 'train'
    if not crops:
        steps = eval_steps(runner) if pipeline == 'eval' else Compose(list(pipeline))
        dataset = with_pipeline(dataset, steps)
    sampler = dict(
        type='mmvpt.ClassMeansSampler',
        samples_per_class=samples_per_class,
        max_images=max_images,
        seed=seed,
    )
    loader = DataLoader(
        dataset,
        batch_size=batch_size or getattr(train.batch_sampler, 'batch_size', 1),
        sampler=DATA_SAMPLERS.build(dict(sampler, dataset=dataset)),
        num_workers=train.num_workers,
        collate_fn=train.collate_fn,
        generator=torch.Generator().manual_seed(seed),
    )
    model = unwrapped(runner.model)
    labels = LabelReader(model, backbone)
    device = backbone.pos_embed.device
    shape = (num_classes, backbone.embed_dims)
    sums = torch.zeros(shape, dtype=torch.float64, device=device)
    counts = torch.zeros(num_classes, dtype=torch.long, device=device)
    preprocess = model.data_preprocessor
    with torch.no_grad(), unprompted(backbone, norm_last), unmixed(preprocess):
        for batch in loader:
            if labels.of_patches:
                labels.check(batch)
            else:
                labels.image_classes(batch.get('data_samples') or ())
            data = preprocess(batch, training=crops)  # which pads crops and masks
            images = data['inputs']
            classes = labels.read(data['data_samples'], images.shape[-2:]).to(device)
            features = vectors(backbone(images), labels.of_patches)
            if labels.of_patches:
                classes = members(classes.flatten(), num_classes)
            add_to_classes(sums, counts, features, classes)
    dist.all_reduce(sums)
    dist.all_reduce(counts)
    return sums, counts


def eval_steps(runner: Runner) -> Any:
    """Return the pipeline of validation, or of test if there is no validation.

    A protocol that takes both from the config leaves it ``eval_pipeline``.

    Raises:
        ValueError: If there is none.
    """
    loop = runner.val_loop
    if loop is not None:
        return _pipeline_of(loop.dataloader.dataset)
    pipeline = eval_pipeline(runner.cfg.get('test_dataloader'))
    pipeline = pipeline or runner.cfg.get('eval_pipeline')
    if pipeline is None:
        raise ValueError(
            "pipeline='eval' takes that of val_dataloader or test_dataloader, but "
            "there is neither. Give SemanticMappingHook a pipeline, or 'train'."
        )
    return Compose(pipeline)


def eval_pipeline(*loaders: Any) -> list[dict] | None:
    """Return the first pipeline in configs of data loaders, None if there is none.

    Args:
        *loaders: The configs, that of validation first; what is None or built already
            is passed over.
    """
    for loader in loaders:
        config = loader.get('dataset') if isinstance(loader, dict) else None
        while isinstance(config, dict):
            if 'pipeline' in config:
                return config['pipeline']
            inner = next((config[name] for name in WRAPPED if name in config), None)
            config = inner[0] if isinstance(inner, (list, tuple)) else inner
    return None


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
