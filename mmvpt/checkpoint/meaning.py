# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Whether names, colours and normalisation in a checkpoint fit its model.

Weights of a wrong shape cannot be loaded; a wrong name or colour can, and every
prediction would be called by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from . import CheckpointError


def num_classes(model: nn.Module) -> int | None:
    """Return how many classes the head of a model tells apart, None if unknown."""
    for name in ('head', 'decode_head'):
        head = getattr(model, name, None)
        if isinstance(head, nn.ModuleList):  # a cascade; the last one decides
            head = head[-1]
        count = getattr(head, 'num_classes', None)
        if isinstance(count, int):
            return count
    return None


def patch_projection(model: nn.Module) -> nn.Module | None:
    """Return the projection of patches in the backbone of a model, None without."""
    embed = getattr(getattr(model, 'backbone', None), 'patch_embed', None)
    return getattr(embed, 'projection', None)


def check_meaning(
    model: nn.Module, classes: Sequence[str] | None, palette: Sequence[Any] | None
) -> None:
    """Compare what a checkpoint says about its model with the model.

    Args:
        model: Built from the config of the checkpoint, with its data preprocessor.
        classes: Names of the classes; None or empty if unknown.
        palette: Colours of the classes, (R, G, B) from 0 to 255; None or empty if
            unknown.
    """
    count = num_classes(model)
    if classes and count is not None and len(classes) != count:
        raise CheckpointError(
            f'the checkpoint names {len(classes)} classes, the head of its model has '
            f'{count}. Give the config it was trained with.'
        )
    count = len(classes) if classes else count
    if palette and count is not None and len(palette) != count:
        raise CheckpointError(
            f'the palette of the checkpoint has {len(palette)} colours for {count} '
            'classes; it must have one for each.'
        )
    for number, colour in enumerate(palette or ()):
        if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
            raise CheckpointError(
                f'colour {number} in the palette of the checkpoint is {tuple(colour)}; '
                'a colour is (R, G, B), each from 0 to 255.'
            )
    _check_channels(model)


def _check_channels(model: nn.Module) -> None:
    preprocessor = getattr(model, 'data_preprocessor', None)
    channels = getattr(patch_projection(model), 'in_channels', None)
    if channels is None:
        return
    for name in ('mean', 'std'):
        values = getattr(preprocessor, name, None)
        if values is not None and values.numel() not in (1, channels):
            raise CheckpointError(
                f'the normalisation has {values.numel()} values of {name}, the '
                f'backbone takes {channels} channels (in_channels); there must be one '
                'for each channel, or one for all.'
            )
