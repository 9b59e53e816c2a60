# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Necks and heads for segmentation; mmsegmentation is imported when one is built."""

from __future__ import annotations

from importlib import import_module

from torch import nn

from mmvpt.errors import UserError
from mmvpt.registry import MODELS

from .queries import check_queries
from .resize_pyramid import ResizePyramid

__all__ = ['ResizePyramid', 'check_queries']


@MODELS.register_module(name='LinkedMask2FormerHead')
def linked_mask2former_head(replace_query_feat: bool = True, **settings) -> nn.Module:
    """Build a :class:`.linked_mask2former_head.LinkedMask2FormerHead`.

    Args:
        replace_query_feat: Whether the content of queries comes from the prompt too.
        **settings: Those of mmsegmentation's ``Mask2FormerHead``.

    Raises:
        UserError: If mmsegmentation or mmdetection is not installed.
    """
    try:
        for name in ('mmseg.models', 'mmdet.models'):
            import_module(name)
    except ImportError as error:
        raise UserError(
            'LinkedMask2FormerHead needs mmseg, mmdet, and an mmcv with compiled '
            f'operators for its pixel decoder, but {error}: pip install '
            'onedl-mmsegmentation onedl-mmdetection, see docs/install.md.'
        ) from error
    from .linked_mask2former_head import LinkedMask2FormerHead

    return LinkedMask2FormerHead(replace_query_feat=replace_query_feat, **settings)
