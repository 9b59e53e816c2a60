# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Whether queries of a prompt meet a head that takes them."""

from __future__ import annotations

from torch import nn

from mmvpt.errors import UserError


def check_queries(model: nn.Module) -> None:
    """Raise if a prompt makes queries and a head cannot take them.

    A backbone gives queries (M, Q) behind its maps, where another head would read a
    map.

    Args:
        model: A model with ``backbone`` and perhaps ``decode_head``; others pass.

    Raises:
        UserError: If the prompt has ``query_dims`` and the decode head is none for
            queries, has another number or width of them, or is not alone.
    """
    prompt = getattr(getattr(model, 'backbone', None), 'prompt', None)
    dims = getattr(prompt, 'query_dims', None)
    if dims is None:
        return
    head = getattr(model, 'decode_head', None)
    wanted = (prompt.num_tokens, dims)
    takes = getattr(head, 'query_shape', None)
    if takes != wanted or getattr(model, 'auxiliary_head', None) is not None:
        found = 'none' if head is None else type(head).__name__
        raise UserError(
            f'the prompt makes queries of shape {wanted}, query_dims={dims}, for a '
            'decode_head of type mmvpt.LinkedMask2FormerHead with as many num_queries '
            f'and feat_channels and no auxiliary_head; the head is {found}'
            + (f' for {takes}' if takes else '')
            + '. Set query_dims=None for any other head.'
        )
