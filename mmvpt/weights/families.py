# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What every family of Vision Transformers fixes besides its weights."""

from __future__ import annotations

from typing import NamedTuple


class Size(NamedTuple):
    """Numbers of one size; what is not None replaces what the family has.

    ``feedforward_channels`` is the inner width h of the MLP, of SwiGLU too.
    """

    embed_dims: int
    num_layers: int
    num_heads: int
    feedforward_channels: int
    act: str | None = None
    qkv_bias: bool | None = None
    patch_size: int | None = None


class Family(NamedTuple):
    """One family: its sizes, and what no shape of a weight tells."""

    sizes: dict[str, Size]  # sizes by name
    patch_size: int = 16  # side of a patch in pixels (p)
    norm_eps: float = 1e-6  # epsilon of every LayerNorm
    with_cls_token: bool = True  # whether there is a class token
    num_registers: int = 0  # register tokens (R)
    #: How the position embedding is resized, see ``RESIZING``; None where there is
    #: none.
    positions: str | None = 'bicubic'
    #: Positions that rotate queries and keys, a name of ``ROTATIONS`` in
    #: ``mmvpt.models.vit.rotation``; None for none.
    rotation: str | None = None
    act: str = 'gelu'  # kind of MLP, see ``ACTIVATIONS``
    layer_scale: bool = False  # whether branches are scaled for each channel
    inner_norm: bool = False  # whether a norm stands before the output projection
    qkv_bias: bool = True  # whether query, key and value have biases
    pooling: str = 'cls'  # what one vector for each image is by default


#: How positions are interpolated; ``antialias`` as PyTorch's ``interpolate`` has it.
RESIZING = ('bicubic', 'bilinear', 'bicubic-antialias', 'bilinear-antialias', 'nearest')
#: GELU, its approximation by tanh, x sigmoid(1.702 x); SwiGLU without and with a norm.
ACTIVATIONS = ('gelu', 'gelu_tanh', 'quick_gelu', 'swiglu', 'swiglu_norm')

_S, _B = (384, 12, 6), (768, 12, 12)
_L, _H, _G = (1024, 24, 16), (1280, 32, 20), (1536, 40, 24)
_DINOV2 = {
    's': Size(*_S, 1536),
    'b': Size(*_B, 3072),
    'l': Size(*_L, 4096),
    'g': Size(*_G, 4096, 'swiglu'),
}
_EVA02 = {
    'ti': Size(192, 12, 3, 512, 'swiglu'),
    's': Size(*_S, 1024, 'swiglu'),
    'b': Size(*_B, 2048),
    'l': Size(*_L, 2730),
}

FAMILIES: dict[str, Family] = {
    'vit': Family(
        {
            'ti': Size(192, 12, 3, 768),
            's': Size(*_S, 1536),
            'b': Size(*_B, 3072),
            'l': Size(*_L, 4096),
            'h': Size(1280, 32, 16, 5120),
        }
    ),
    'dinov2': Family(_DINOV2, patch_size=14, layer_scale=True),
    'dinov2-reg': Family(
        _DINOV2,
        patch_size=14,
        layer_scale=True,
        num_registers=4,
        positions='bicubic-antialias',
    ),
    'dinov3': Family(
        {
            's': Size(*_S, 1536),
            's+': Size(*_S, 1536, 'swiglu'),
            'b': Size(*_B, 3072),
            'l': Size(*_L, 4096),
            'h+': Size(*_H, 5120, 'swiglu'),
            '7b': Size(4096, 40, 32, 8192, 'swiglu', qkv_bias=False),
        },
        norm_eps=1e-5,
        num_registers=4,
        positions=None,
        rotation='dinov3',
        layer_scale=True,
    ),
    'siglip': Family(
        {
            'b': Size(*_B, 3072),
            'l': Size(*_L, 4096),
            'so400m': Size(1152, 27, 16, 4304),
            'giant': Size(1536, 40, 16, 6144),
        },
        with_cls_token=False,
        act='gelu_tanh',
        pooling='map',
    ),
    'eva02': Family(
        _EVA02, patch_size=14, rotation='eva02', act='swiglu_norm', pooling='patches'
    ),
    'eva02-clip': Family(
        {'b': Size(*_B, 2048, patch_size=16), 'l': _EVA02['l']},
        patch_size=14,
        rotation='eva02',
        act='swiglu_norm',
        inner_norm=True,
    ),
}
#: Other spellings of sizes.
_LONG = {
    **{'ti': 'tiny', 's': 'small', 'b': 'base', 'l': 'large', 'h': 'huge'},
    **{'g': 'giant', 's+': 'splus', 'h+': 'hplus', 'giant': 'giant-opt'},
}


def names(family: str, size: str) -> list[str]:
    """Return every ``arch`` that means a size of a family, the usual one first."""
    spellings = [size, *([_LONG[size]] if size in _LONG else [])]
    return [f'{family}-{spelling}' for spelling in spellings]
