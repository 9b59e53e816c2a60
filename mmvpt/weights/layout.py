# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Bringing weights, already renamed, into the shapes that mmpretrain has."""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from .architecture import ConversionError

_QKV = re.compile(r'(layers\.\d+\.attn\.)(query|key|value)\.(weight|bias)')


def from_flax(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], int | None]:
    """Turn Flax arrays into torch's layout.

    Dense kernels are (in, out) and become (out, in); convolutions (P, P, in, out)
    become (out, in, P, P); kernels of query, key and value are (C, H, C / H), that of
    the projection is (H, C / H, C).

    Args:
        state: Arrays under mmpretrain's names with Flax's last part (``kernel``,
            ``scale``).

    Returns:
        The weights, and the number of heads.

    Raises:
        ConversionError: If a kernel has an unexpected number of axes.
    """
    out, heads = {}, None
    for name, value in state.items():
        stem, _, leaf = name.rpartition('.')
        if leaf == 'kernel':
            part = stem.rpartition('.')[2]
            attention = part in ('query', 'key', 'value', 'out')
            expected = 4 if 'projection' in stem else 3 if attention else 2
            if value.dim() != expected:
                raise ConversionError(
                    f'{name} has shape {tuple(value.shape)}; expected {expected} axes.'
                )
            if expected == 4:
                value = value.permute(3, 2, 0, 1)
            elif part == 'out':
                value = value.flatten(0, 1).T
            elif attention:
                heads = value.shape[1]
                value = value.flatten(1).T
            else:
                value = value.T
            leaf = 'weight'
        elif leaf == 'scale':
            leaf = 'weight'
        elif leaf == 'bias' and stem.endswith(('.query', '.key', '.value')):
            value = value.flatten()
        name = f'{stem}.{leaf}' if stem else leaf
        out[re.sub(r'\.attn\.out\.', '.attn.proj.', name)] = value.contiguous()
    return out, heads


def join_qkv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join separate query, key and value into ``attn.qkv``, (3C, C) and (3C,).

    Raises:
        ConversionError: If one of the three is missing or of another shape.
    """
    out: dict[str, Tensor] = {}
    groups: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        match = _QKV.fullmatch(name)
        if match is None:
            out[name] = value
        else:
            groups.setdefault(f'{match[1]}qkv.{match[3]}', {})[match[2]] = value
    for name, parts in groups.items():
        missing = {'query', 'key', 'value'} - set(parts)
        shapes = {tuple(value.shape) for value in parts.values()}
        if missing or len(shapes) > 1:
            raise ConversionError(
                f'{name} is made of query, key and value; '
                + (f'missing: {", ".join(sorted(missing))}.' if missing else '')
                + (f'their shapes differ: {sorted(shapes)}.' if not missing else '')
            )
        out[name] = torch.cat([parts['query'], parts['key'], parts['value']])
    return out


def shape_tokens(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Give class token and positions the shapes (1, 1, C) and (1, 1 + N, C).

    Positions without a row for the class token (timm's ``no_embed_class``) get a row
    of zeros, which computes the same.

    Returns:
        The weights, and the names of what was added.

    Raises:
        ConversionError: If there is no class token.
    """
    state, added = dict(state), []
    cls, positions = state.get('cls_token'), state.get('pos_embed')
    if cls is None and positions is not None:
        raise ConversionError(
            'the checkpoint has no class token; PromptedVisionTransformer places '
            'prompts behind it.'
        )
    if cls is not None and cls.dim() < 3:
        state['cls_token'] = cls.reshape(1, 1, -1)
    if positions is not None and positions.dim() == 2:
        positions = state['pos_embed'] = positions.unsqueeze(0)
    if positions is not None and positions.dim() == 3:
        rows = positions.shape[1]
        if math.isqrt(rows) ** 2 == rows and rows > 1:
            zeros = positions.new_zeros(1, 1, positions.shape[2])
            state['pos_embed'] = torch.cat([zeros, positions], dim=1)
            added.append('pos_embed of the class token, zeros')
    return state, added
