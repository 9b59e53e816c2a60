# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Bringing weights, already renamed, into the shapes that the backbone has.

Every step is exact: it moves numbers, or adds zeros where a file implies them.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from .architecture import ConversionError

State = dict[str, Tensor]


def in_full_precision(state: State) -> State:
    """Widen small floating-point types to 32 bits, which is exact."""
    out = {}
    for name, value in state.items():
        try:
            wide = value.dtype in (torch.float32, torch.float64)
            out[name] = value if wide else value.float()
        except (RuntimeError, TypeError):  # types of fewer than 8 bits
            wide = None
        plain = value.layout is torch.strided and not value.is_meta
        if wide is None or not value.dtype.is_floating_point or not plain:
            kind = value.dtype if plain else value.layout
            kind = 'meta' if value.is_meta else str(kind).removeprefix('torch.')
            raise ConversionError(
                f'{name} is of type {kind}, from which no weights can be had. Give a '
                'file with float16, bfloat16, float32 or float64 weights; float8 is '
                'converted as well.'
            )
    return out


def from_flax(state: State) -> tuple[State, int | None]:
    """Turn Flax arrays into torch's layout.

    Dense kernels are (in, out) and become (out, in); convolutions (P, P, in, out)
    become (out, in, P, P); kernels of query, key and value are (C, H, C / H), that of
    the projection is (H, C / H, C).

    Args:
        state: Arrays under the backbone's names with Flax's last part (``kernel``,
            ``scale``).

    Returns:
        The weights, and the number of heads.
    """
    out, heads = {}, None
    for name, value in state.items():
        stem, _, leaf = name.rpartition('.')
        part = stem.rpartition('.')[2]
        if leaf == 'kernel':
            attention = part in ('q', 'k', 'v', 'out')
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
        elif leaf == 'bias' and part in ('q', 'k', 'v'):
            value = value.flatten()
        leaf = {'kernel': 'weight', 'scale': 'weight'}.get(leaf, leaf)
        name = f'{stem}.{leaf}' if stem else leaf
        out[re.sub(r'\.out\.', '.proj.', name)] = value.contiguous()
    return out, heads


def unstacked(state: State) -> State:
    """Split big_vision's ``encoderblock/``, all layers in one array, by its layers."""
    out: State = {}
    for key, value in state.items():
        before, block, after = key.partition('Transformer/encoderblock/')
        if not block:
            out[key] = value
            continue
        for i, layer in enumerate(value):
            out[f'{before}Transformer/encoderblock_{i}/{after}'] = layer
    return out


def join_parts(state: State) -> State:
    """Join what the backbone keeps in one matrix.

    Query, key and value (q, k, v) become ``attn.qkv``, (3C, C) and (3C,); a missing
    bias of the keys, or a masked one, is zeros. Gate and values of SwiGLU become
    ``ffn.w12``, (2h, C), the gate first; ``fc1`` of 2h rows before ``fc2`` of h columns
    is such a matrix. The attention pool has ``pool.q`` and ``pool.kv``.
    """
    state = dict(state)
    stems = sorted({n.rpartition('.')[0] for n in state if n.startswith('layers.')})
    for layer in sorted({s[: s.index('.', 7)] for s in stems if '.' in s[7:]}):
        attn, ffn = f'{layer}.attn.', f'{layer}.ffn.'
        _join(state, f'{attn}qkv.weight', [f'{attn}{p}.weight' for p in 'qkv'])
        _join_bias(state, attn)
        _join_swiglu(state, ffn)
    for leaf in ('weight', 'bias'):
        _join(state, f'pool.kv.{leaf}', [f'pool.{p}.{leaf}' for p in 'kv'])
        both = state.pop(f'pool.in_proj.{leaf}', None)
        if both is not None:
            third = len(both) // 3
            _put(state, f'pool.q.{leaf}', both[:third])
            _put(state, f'pool.kv.{leaf}', both[third:])
    probe = state.get('pool.probe')
    if probe is not None:
        state['pool.probe'] = probe.reshape(1, 1, -1)
    return state


def _join(state: State, name: str, parts: list[str]) -> None:
    """Put parts one below the other, if there are any."""
    if not any(part in state for part in parts):
        return
    missing = [part for part in parts if part not in state]
    shapes = {tuple(state[part].shape) for part in parts if part in state}
    if missing or len(shapes) > 1:
        raise ConversionError(
            f'{name} is made of {", ".join(parts)}; '
            + (f'missing: {", ".join(missing)}.' if missing else '')
            + (f'their shapes differ: {sorted(shapes)}.' if not missing else '')
        )
    _put(state, name, torch.cat([state.pop(part) for part in parts]))


def _put(state: State, name: str, value: Tensor) -> None:
    if name in state:
        raise ConversionError(f'{name} is there twice, whole and in parts.')
    state[name] = value


def _join_bias(state: State, attn: str) -> None:
    q, k, v = (f'{attn}{part}.bias' for part in 'qkv')
    mask = state.pop(f'{attn}qkv.bias_mask', None)
    if q in state and v in state and k not in state:
        state[k] = torch.zeros_like(state[q])
    _join(state, f'{attn}qkv.bias', [q, k, v])
    if mask is None:
        return
    third = len(mask) // 3
    expected = torch.ones_like(mask)
    expected[third : 2 * third] = 0
    bias = state.get(f'{attn}qkv.bias')
    if bias is None or not torch.equal(mask, expected):
        raise ConversionError(
            f'{attn}qkv.bias_mask is not 1 for query and value and 0 for key, or masks '
            'no bias: the file is damaged or of another kind than DINOv3.'
        )
    # What stands under the mask is arbitrary, even not a number.
    state[f'{attn}qkv.bias'] = torch.where(mask == 0, 0, bias)


def _join_swiglu(state: State, ffn: str) -> None:
    plain, last = f'{ffn}layers.0.0.', f'{ffn}layers.1.'
    for leaf in ('weight', 'bias'):
        if f'{ffn}gate.{leaf}' in state:
            parts = [f'{ffn}gate.{leaf}', f'{ffn}up.{leaf}']
            _join(state, f'{ffn}w12.{leaf}', parts)
        elif f'{ffn}up.{leaf}' in state:  # DINOv3 of transformers, not gated
            _put(state, plain + leaf, state.pop(f'{ffn}up.{leaf}'))
    first, second = state.get(f'{plain}weight'), state.get(f'{last}weight')
    found = first is not None and second is not None and second.dim() == 2
    if found and len(state[f'{plain}weight']) == 2 * state[f'{last}weight'].shape[1]:
        for leaf in ('weight', 'bias'):
            if plain + leaf in state:
                _put(state, f'{ffn}w12.{leaf}', state.pop(plain + leaf))
    if f'{ffn}w12.weight' in state:
        for leaf in ('weight', 'bias'):
            if last + leaf in state:
                _put(state, f'{ffn}w3.{leaf}', state.pop(last + leaf))


def shape_tokens(state: State) -> State:
    """Give tokens and positions three axes, and linear patches those of a convolution.

    SigLIP 2 NaFlex has patches (C, 3 p^2) over pixels in the order row, column,
    channel; they become (C, 3, p, p).
    """
    state = dict(state)
    registers = state.get('reg_tokens')
    if registers is not None and registers.dim() != 3:
        raise ConversionError(
            f'reg_tokens has shape {tuple(registers.shape)}; expected 3 axes.'
        )
    if registers is not None and registers.numel() == 0:
        del state['reg_tokens']
    cls, positions = state.get('cls_token'), state.get('pos_embed')
    if cls is not None and cls.dim() < 3:
        state['cls_token'] = cls.reshape(1, 1, -1)
    if positions is not None and positions.dim() == 2:
        state['pos_embed'] = positions.unsqueeze(0)
    patches = state.get('patch_embed.projection.weight')
    if patches is not None and patches.dim() == 2:
        side = round((patches.shape[1] / 3) ** 0.5)
        if 3 * side**2 == patches.shape[1]:
            square = patches.reshape(-1, side, side, 3).permute(0, 3, 1, 2)
            state['patch_embed.projection.weight'] = square.contiguous()
    return state
