# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Rows of all ranks with gradients, as if one process had the whole batch."""

from __future__ import annotations

from typing import Any

import torch
from mmengine import dist
from torch import Tensor


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
