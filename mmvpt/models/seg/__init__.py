# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Necks and heads for segmentation; mmsegmentation is imported when one is built."""

from __future__ import annotations

from importlib.util import find_spec

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
    missing = [name for name in ('mmseg', 'mmdet') if find_spec(name) is None]
    if missing:
        raise UserError(
            f'LinkedMask2FormerHead needs {" and ".join(missing)}, and an mmcv with '
            'compiled operators for its pixel decoder: pip install '
            'onedl-mmsegmentation onedl-mmdetection, see docs/install.md.'
        )
    from .linked_mask2former_head import LinkedMask2FormerHead

    return LinkedMask2FormerHead(replace_query_feat=replace_query_feat, **settings)
