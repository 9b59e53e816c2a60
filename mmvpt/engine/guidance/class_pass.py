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

from mmvpt.engine.forward import changed, evaluated, unwrapped
from mmvpt.errors import UserError
from mmvpt.registry import DATA_SAMPLERS

from .clustering import add_to_classes
from .labels import LabelReader, image_classes


def vectors(outputs: Sequence[Tensor], of_patches: bool) -> Tensor:
    """Return what has a class in the last output of a backbone.

    Args:
        outputs: What it returned; for patches feature maps (B, C, H, W).
        of_patches: Whether patches have classes, (B * N, C), or images, (B, C), for
            which a feature map is averaged.
    """
    feature = outputs[-1]
    if of_patches:
        return feature.flatten(2).mT.flatten(0, 1)
    return feature.flatten(2).mean(dim=2) if feature.dim() == 4 else feature


@contextmanager
def unprompted(backbone: nn.Module, norm_last: bool = False) -> Iterator[None]:
    """Run a prompted backbone as the frozen ViT it is made of, in eval mode.

    Args:
        backbone: The backbone; put back at the end.
        norm_last: Pool, then norm, whatever the backbone does otherwise.
    """
    changes = dict(
        prompt=None,
        pooling='patches' if backbone.pooling == 'prompts' else backbone.pooling,
        norm_before_pool=backbone.norm_before_pool and not norm_last,
    )
    with changed(backbone, **changes), evaluated(backbone):
        yield


def sum_over_classes(
    runner: Runner,
    backbone: nn.Module,
    *,
    pipeline: str | Sequence[dict] | None = None,
    samples_per_class: int | None = None,
    max_images: int | None = None,
    batch_size: int | None = None,
    norm_last: bool = False,
    seed: int = 0,
) -> None:
    """Add the un-prompted features of the training images to ``class_sums``.

    That and ``class_counts`` of the prompt, of images or patches, then hold those of
    all ranks.

    Args:
        runner: The runner, whose training data is read by all ranks together.
        backbone: The prompted backbone.
        pipeline: ``eval``: that of validation or test; ``train``; or a list. By default
            ``train`` if the data have masks, else ``eval``.
        samples_per_class: Images of each class, None for all.
        max_images: Images in all, drawn at random; None for no limit.
        batch_size: By default that of training.
        norm_last: As in :func:`unprompted`.
        seed: Of draws and augmentation, equal on all ranks.

    Raises:
        UserError: If labels are missing or wrong, or there is no such pipeline.
    """
    train = runner.train_dataloader
    dataset = train.dataset
    if pipeline is None:
        known = dataset.get_data_info(0) if hasattr(dataset, 'get_data_info') else {}
        pipeline = 'train' if 'seg_map_path' in known else 'eval'
    crops = pipeline == 'train'
    if not crops:
        steps = eval_steps(runner) if pipeline == 'eval' else list(pipeline)
        dataset = with_pipeline(dataset, Compose(steps))
    sampler = dict(
        type='mmvpt.ClassMeansSampler',
        samples_per_class=samples_per_class,
        max_images=max_images,
        seed=seed,
        dataset=dataset,
    )
    loader = DataLoader(
        dataset,
        batch_size=batch_size or getattr(train.batch_sampler, 'batch_size', 1),
        sampler=DATA_SAMPLERS.build(sampler),
        num_workers=train.num_workers,
        collate_fn=train.collate_fn,
        generator=torch.Generator().manual_seed(seed),
    )
    model, prompt = unwrapped(runner.model), backbone.prompt
    sums, counts = prompt.class_sums, prompt.class_counts
    labels = LabelReader.of(model, backbone)
    preprocess = model.data_preprocessor
    unmixed = changed(preprocess, batch_augments=None)
    with torch.no_grad(), unprompted(backbone, norm_last), unmixed:
        for batch in loader:
            if labels.of_patches:
                labels.check(batch)
            else:  # masks of evaluation may have another size than images
                samples = batch.get('data_samples') or ()
                image_classes(samples, labels.num_classes, labels.ignored)
            data = preprocess(batch, training=crops)  # which pads crops and masks
            images = data['inputs']
            classes = labels.read(data['data_samples'], images.shape[-2:])
            features = vectors(backbone(images), labels.of_patches)
            add_to_classes(sums, counts, features, classes.to(sums.device))
    dist.all_reduce(sums)
    dist.all_reduce(counts)


def eval_steps(runner: Runner) -> Any:
    """Return the pipeline of validation, or of test if there is no validation.

    A protocol that takes both from the config leaves it ``eval_pipeline``.
    """
    validation = getattr(runner.val_loop, 'dataloader', None)
    pipeline = eval_pipeline(validation, runner.cfg.get('test_dataloader'))
    pipeline = pipeline or runner.cfg.get('eval_pipeline')
    if pipeline is None:
        raise UserError(
            "pipeline='eval' takes that of val_dataloader or test_dataloader, but "
            "there is neither. Give SemanticMappingHook a pipeline, or 'train'."
        )
    return getattr(pipeline, 'transforms', pipeline)


def eval_pipeline(*loaders: Any) -> Any:
    """Return the first pipeline of data loaders, None if there is none.

    Args:
        *loaders: Loaders, that of validation first, or their configs; a pipeline is
            then a list. What is None or has no data set is passed over.
    """

    def part(of: Any, name: str) -> Any:
        return of.get(name) if isinstance(of, dict) else getattr(of, name, None)

    for loader in loaders:
        dataset = part(loader, 'dataset')
        while dataset is not None:
            if (pipeline := part(dataset, 'pipeline')) is not None:
                return pipeline
            several = part(dataset, 'datasets')
            dataset = several[0] if several else part(dataset, 'dataset')
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
