# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What the hooks of DA-VPT have in common: the backbone, the data, the ranks."""

from __future__ import annotations

from typing import Any

import torch
from mmengine import dist
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmvpt.models.prompts import DistributionAwarePrompt


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


def at_least_float32(x: Tensor) -> Tensor:
    """Return half precision as float32, anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def argument(name: str, place: int, args: tuple, kwargs: dict) -> Any:
    """Return an argument of a model's ``forward(inputs, data_samples, mode)``."""
    if name in kwargs:
        return kwargs[name]
    return args[place] if len(args) > place else None


class GatherBatch(torch.autograd.Function):
    """Concatenate rows of all ranks; gradients as for one large batch.

    Every rank then computes the same loss of the whole batch, and gradients are
    averaged over R ranks by distributed training. So what arrives here at the rows of
    this rank is complete but for a factor R, and nothing is communicated.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """Return the rows of all ranks, ``sizes`` each."""
        ctx.sizes = sizes
        padding = x.new_zeros(max(sizes) - len(x), *x.shape[1:])
        gathered = dist.all_gather(torch.cat([x, padding]))
        return torch.cat([rows[:size] for rows, size in zip(gathered, sizes)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of this rank's rows."""
        return grad.split(ctx.sizes)[dist.get_rank()] * len(ctx.sizes), None


def gather_batch(x: Tensor, sizes: tuple[int, ...] | None = None) -> Tensor:
    """Return the rows of all ranks with gradients; alone, the input.

    Args:
        x: Rows of this rank, (B, ...).
        sizes: Number of rows of each rank, see :func:`gather_sizes`; None if it is the
            same on all.
    """
    ranks = dist.get_world_size()
    return x if ranks == 1 else GatherBatch.apply(x, sizes or (len(x),) * ranks)


def gather_sizes(x: Tensor) -> tuple[int, ...]:
    """Return how many rows ``x`` has on each rank. Waits for the accelerator."""
    if dist.get_world_size() == 1:
        return (len(x),)
    size = torch.tensor(len(x), device=x.device)
    return tuple(int(n) for n in dist.all_gather(size))
