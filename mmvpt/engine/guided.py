# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What the hooks of DA-VPT have in common: the backbone, the labels, the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine import dist
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmvpt.models.prompts import DistributionAwarePrompt

IGNORED = 255  # mmseg's label of pixels that do not count
LABELS = 'gt_label (mmpretrain), gt_sem_seg (mmseg) or gt_instances.labels (mmdet)'


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside a wrapper for distributed training."""
    return model.module if is_model_wrapper(model) else model


def guided_backbone(model: nn.Module, hook: str) -> nn.Module:
    """Find the module that holds a ``DistributionAwarePrompt``.

    Args:
        model: Any model.
        hook: Who asks, for the message.

    Raises:
        ValueError: If there is none, more than one, or one without guided layers.
    """
    found = [
        module
        for module in model.modules()
        if isinstance(getattr(module, 'prompt', None), DistributionAwarePrompt)
    ]
    if len(found) != 1:
        raise ValueError(
            f'{hook} needs one backbone with a DistributionAwarePrompt, but the model '
            f'has {len(found)}. Set model.backbone.prompt=dict(type='
            "'DistributionAwarePrompt', num_classes=...) or remove the hook."
        )
    if not found[0].prompt.guided_layers:
        raise ValueError(
            f'{hook} needs guided layers, but the prompt has none. Set guided_layers '
            'and num_guided_tokens of the prompt, or remove the hook.'
        )
    return found[0]


def check_data(runner: Runner, num_classes: int, hook: str) -> None:
    """Raise if the training data cannot serve the hooks.

    Args:
        runner: The runner.
        num_classes: Classes that the map knows.
        hook: Who asks, for the message.

    Raises:
        ValueError: If the data set has more classes than the map, or ranks may draw
            unequal batches.
    """
    loader = runner.train_dataloader
    classes = (getattr(loader.dataset, 'metainfo', None) or {}).get('classes') or ()
    if len(classes) > num_classes:
        raise ValueError(
            f'{hook}: the training data has {len(classes)} classes, but the prompt has '
            f'num_classes={num_classes}. Set backbone.prompt.num_classes to '
            f'{len(classes)}.'
        )
    sampler = getattr(loader.batch_sampler, 'sampler', None)
    if dist.get_world_size() > 1 and getattr(sampler, 'round_up', True) is False:
        raise ValueError(
            f'{hook} compares the batches of all ranks, which must be equally large: '
            'set round_up=True in train_dataloader.sampler.'
        )


def image_classes(samples: Sequence[Any], num_classes: int) -> Tensor:
    """Read which classes each image shows.

    * ``gt_label``: the label. Several labels count as several classes. If batch
      augmentation mixed images, the class with most weight.
    * ``gt_sem_seg``: the classes of the pixels in the crop, 255 left out.
    * ``gt_instances.labels``: the classes of the instances.

    Args:
        samples: Data samples of a batch.
        num_classes: Number of classes (K).

    Returns:
        (B,) if every image has one class, else bool (B, K).

    Raises:
        ValueError: If there are no labels, or a label is not in 0..K-1. Labels on
            accelerators are not looked at, so as not to wait for them; the hooks look
            at every batch before it gets there.
    """
    if not samples:
        raise ValueError(f'the batch has no data samples to read {LABELS} from.')
    if all('gt_label' in sample for sample in samples):
        labels = [_label(sample) for sample in samples]
        if all(len(label) == 1 for label in labels):
            return _check(torch.cat(labels), num_classes)
        return torch.stack([_present(label, num_classes) for label in labels])
    if all('gt_sem_seg' in sample for sample in samples):
        maps = [sample.gt_sem_seg.data for sample in samples]
        return torch.stack([_present(m, num_classes, IGNORED) for m in maps])
    if all('gt_instances' in sample for sample in samples):
        labels = [sample.gt_instances.labels for sample in samples]
        return torch.stack([_present(label, num_classes) for label in labels])
    raise ValueError(
        f'the training samples have no labels; needed is one of {LABELS}, but the '
        f'first sample has {sorted(samples[0].keys())}. Load annotations in '
        'train_dataloader.dataset.pipeline.'
    )


def batch_classes(data_batch: Any, num_classes: int) -> Tensor:
    """Read the classes of a batch as the data loader returns it.

    Args:
        data_batch: The batch, a dict with ``data_samples``.
        num_classes: Number of classes (K).

    Raises:
        ValueError: As in :func:`image_classes`.
    """
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    return image_classes(samples or (), num_classes)


def _label(sample: Any) -> Tensor:
    label = sample.gt_label.reshape(-1)
    if len(label) == 1 and 'gt_score' in sample:
        return sample.gt_score.argmax().reshape(1)
    return label


def _present(labels: Tensor, num_classes: int, ignored: int = -1) -> Tensor:
    """Tell for each class whether it occurs, bool (num_classes,)."""
    labels = labels.reshape(-1).long()
    labels = torch.where(labels == ignored, num_classes, labels)
    present = labels.new_zeros(num_classes + 1, dtype=torch.bool)
    present[_check(labels, num_classes + 1)] = True
    return present[:num_classes]


def _check(labels: Tensor, bound: int) -> Tensor:
    labels = labels.long()
    if labels.device.type == 'cpu' and len(labels):
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= bound:
            wrong = low if low < 0 else high
            raise ValueError(
                f'label {wrong} is beyond the map from classes to prompts; labels must '
                "be 0 to num_classes - 1. Correct the prompt's num_classes or the data."
            )
    return labels


def at_least_float32(x: Tensor) -> Tensor:
    """Return half precision as float32, anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class GatherBatch(torch.autograd.Function):
    """Concatenate the batches of all ranks; gradients as for one large batch.

    Every rank then computes the same loss of the whole batch, and gradients are
    averaged over R ranks by distributed training. So what arrives here at the rows of
    this rank is complete but for a factor R, and nothing is communicated.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return the batches of all ranks, (R * B, ...)."""
        ctx.rank, ctx.size = dist.get_rank(), len(x)
        return torch.cat(dist.all_gather(x.contiguous()))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the gradient of this rank's rows."""
        rows = grad[ctx.rank * ctx.size : (ctx.rank + 1) * ctx.size]
        return rows * (len(grad) // ctx.size)


def gather_batch(x: Tensor) -> Tensor:
    """Return the rows of all ranks, (R * B, ...), with gradients; alone, the input."""
    return x if dist.get_world_size() == 1 else GatherBatch.apply(x)
