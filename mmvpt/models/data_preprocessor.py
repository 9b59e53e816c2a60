# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A data preprocessor that normalises images as a checkpoint was pretrained."""

from __future__ import annotations

from torch import nn

from mmvpt.checkpoint import CheckpointError
from mmvpt.errors import UserError
from mmvpt.registry import MODELS
from mmvpt.weights import normalization


@MODELS.register_module(name='PretrainedDataPreprocessor')
def pretrained_data_preprocessor(
    checkpoint: str, base: str = 'ClsDataPreprocessor', **kwargs
) -> nn.Module:
    """Build a data preprocessor with the mean and std of a checkpoint.

    In a config it is ``dict(type='mmvpt.PretrainedDataPreprocessor', checkpoint=...,
    to_rgb=True)``, with the same checkpoint as ``init_cfg`` of the backbone.

    Args:
        checkpoint: ``mmvpt://NAME``, ``timm://NAME`` or a converted file.
        base: Type of the preprocessor in the default scope, ``SegDataPreProcessor`` in
            mmseg.
        **kwargs: Its other arguments; ``mean`` and ``std`` override the checkpoint's.

    Returns:
        The preprocessor, an object of ``base``.

    Raises:
        CheckpointError: If nothing tells how the checkpoint's images were normalised.
        UserError: If only one of ``mean`` and ``std`` is overridden.
    """
    if ('mean' in kwargs) != ('std' in kwargs):
        raise UserError('override mean and std together, or neither of them.')
    if 'mean' not in kwargs:
        found = normalization(checkpoint)
        if found is None:
            raise CheckpointError(
                f'{checkpoint} does not tell how its images were normalised. Convert '
                'it with tools/weights/convert.py --normalization NAME, or give mean '
                'and std.'
            )
        kwargs.update(mean=list(found.mean), std=list(found.std))
    return MODELS.build(dict(type=base, **kwargs))
