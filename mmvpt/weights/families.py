# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What every family of Vision Transformers fixes besides its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from mmengine.fileio import load


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
    pre_norm: bool = False  # whether a norm stands before the layers
    qkv_bias: bool = True  # whether query, key and value have biases
    pooling: str = 'cls'  # what one vector for each image is by default
    pool_heads: int | None = None  # of the attention pool; None for those of the layers


#: How positions are interpolated; ``antialias`` as PyTorch's ``interpolate`` has it.
RESIZING = ('bicubic', 'bilinear', 'bicubic-antialias', 'bilinear-antialias', 'nearest')
#: GELU, its approximation by tanh, x sigmoid(1.702 x); SwiGLU without and with a norm.
ACTIVATIONS = ('gelu', 'gelu_tanh', 'quick_gelu', 'swiglu', 'swiglu_norm')


def _family(sizes: dict[str, list], **facts: Any) -> Family:
    return Family({name: Size(*size) for name, size in sizes.items()}, **facts)


FAMILIES = {
    name: _family(**entry)
    for name, entry in load(str(Path(__file__).with_suffix('.yml'))).items()
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
