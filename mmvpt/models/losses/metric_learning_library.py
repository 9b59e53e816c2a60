# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Metric losses of pytorch-metric-learning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmvpt.errors import UserError, needed
from mmvpt.registry import MODELS


@MODELS.register_module()
class MetricLearningLibraryLoss(nn.Module):
    """A pair, triplet or tuple loss of pytorch-metric-learning against proxies.

    Vectors are the anchors; proxies are the references, each with its own index as
    label. For losses whose call takes ``ref_emb`` (``MultiSimilarityLoss``,
    ``ContrastiveLoss``, ``NTXentLoss``, ``SupConLoss``, ``CircleLoss``, ...). Those
    that learn proxies themselves are refused: nobody would train them.

    Example: ``dict(type='mmvpt.MetricLearningLibraryLoss',
    name='MultiSimilarityLoss', alpha=2, beta=50, base=0.5)``.

    Source: `pytorch-metric-learning
    <https://kevinmusgrave.github.io/pytorch-metric-learning/losses/>`_.

    Args:
        name: Class name in ``pytorch_metric_learning.losses``.
        **kwargs: Its arguments.

    Raises:
        MissingPackageError: If the library is not installed.
        UserError: If it has no such loss, or the loss has parameters.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__()
        with needed(
            'MetricLearningLibraryLoss needs pytorch-metric-learning: '
            'pip install pytorch-metric-learning'
        ):
            from pytorch_metric_learning import losses
        if not hasattr(losses, name):
            raise UserError(f'pytorch_metric_learning.losses has no {name!r}')
        self.loss = getattr(losses, name)(**kwargs)
        if any(True for _ in self.loss.parameters()):
            raise UserError(
                f'{name} learns parameters of its own, which no optimizer would see. '
                'Use a loss that takes ref_emb; the prompts are its references.'
            )

    def forward(self, x: Tensor, proxies: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            x: Vectors, (B, C).
            proxies: Proxies, (M, C).
            targets: Index of the proxy of each vector, (B,).
        """
        labels = torch.arange(len(proxies), device=targets.device)
        return self.loss(x, targets, ref_emb=proxies, ref_labels=labels)
