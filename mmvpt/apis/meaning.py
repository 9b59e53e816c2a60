# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What the numbers that a model puts out mean: the one place that says it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from mmvpt.errors import UserError


@dataclass(frozen=True)
class Meaning:
    """How outputs become classes."""

    kind: str  # 'classification', 'multi-label classification' or 'segmentation'
    scores: str  # 'softmax' over the classes, or 'sigmoid' of each output by itself
    #: With 'sigmoid' the score from which on a class is present; None if the ``topk``
    #: best are.
    threshold: float | None = None
    topk: int | None = None  # how many classes are present, None if a threshold decides

    def in_words(self) -> str:
        """Return a sentence for who runs an exported graph."""
        if self.scores == 'softmax':
            return 'softmax over axis 1'
        if self.kind == 'segmentation':
            return f'sigmoid; class 1 where above {self.threshold}, class 0 elsewhere'
        if self.threshold is not None:
            return f'sigmoid; present are the classes of at least {self.threshold}'
        return f'sigmoid; present are the {self.topk} best classes'


def meaning_of(model: nn.Module) -> Meaning:
    """Return what a model's outputs mean.

    Raises:
        UserError: For a head whose outputs are not the scores of one set of classes.
    """
    decode_head = getattr(model, 'decode_head', None)
    if decode_head is not None:
        if isinstance(decode_head, nn.ModuleList):  # a cascade; the last one decides
            decode_head = decode_head[-1]
        if getattr(decode_head, 'out_channels', None) == 1:
            return Meaning('segmentation', 'sigmoid', float(decode_head.threshold))
        return Meaning('segmentation', 'softmax')
    head = getattr(model, 'head', None)
    if hasattr(head, 'task_heads'):
        raise UserError(
            f'the model has a {type(head).__name__}, which has several tasks at once; '
            'prediction and export know one set of classes. Use mmpretrain for it.'
        )
    if hasattr(head, 'thr') and hasattr(head, 'topk'):  # mmpretrain's multi-label heads
        kind = 'multi-label classification'
        if head.thr is not None:
            return Meaning(kind, 'sigmoid', float(head.thr))
        return Meaning(kind, 'sigmoid', topk=int(head.topk))
    return Meaning('classification', 'softmax')
