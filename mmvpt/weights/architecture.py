# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What weights in the backbone's names say about their Vision Transformer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from mmvpt.checkpoint import CheckpointError

from .families import FAMILIES, Size, names


class ConversionError(CheckpointError):
    """Weights that cannot be converted; the message names keys and remedy."""


#: Every ``arch`` of a family: the family and the size.
SIZES = {
    name: (family, size)
    for family, row in FAMILIES.items()
    for suffix, size in row.sizes.items()
    for name in names(family, suffix)
}
#: Name: width, layers, heads.
ARCHITECTURES = {name: tuple(size[:3]) for name, (_, size) in SIZES.items()}
ACTIVATIONS = ('gelu', 'gelu_tanh', 'quick_gelu')


@dataclass(frozen=True)
class Architecture:
    """The shape of a Vision Transformer, and what no shape tells."""

    family: str  # key of ``FAMILIES``
    embed_dims: int  # width C
    num_layers: int  # layers L
    num_heads: int  # heads H; no weight tells, so it is given or looked up
    feedforward_channels: int  # hidden width of the MLP
    #: Side in pixels of the square image of the position embedding, or its height and
    #: width; None without positions.
    img_size: int | tuple[int, int] | None
    patch_size: int  # side of a patch in pixels
    in_channels: int  # channels of an image
    num_registers: int  # register tokens R
    patch_bias: bool  # whether the patch projection has a bias
    qkv_bias: bool  # whether queries, keys and values have one
    pre_norm: bool  # whether a norm precedes the layers (CLIP)
    final_norm: bool  # whether a norm follows the layers
    layer_scale: bool  # whether branches are scaled (DINO)
    norm_eps: float | None  # epsilon of the norms, None if unknown
    #: Kind of the MLP, see ``families.ACTIVATIONS``, None if unknown.
    activation: str | None
    pooling: str  # what one vector for each image is
    norm_before_pool: bool = True  # whether the final norm sees tokens, not their mean
    #: How positions are resized, None without positions.
    interpolate_mode: str | None = None
    rope_dtype: str | None = None  # precision of rotary periods, None for exact ones

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of patches that the positions are of."""
        if self.img_size is None:
            return None
        return grid_of_image(self.img_size, self.patch_size)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return every key that the weights must have, with its shape."""
        dims, hidden = self.embed_dims, self.feedforward_channels
        patch = (self.patch_size, self.patch_size)
        family = FAMILIES[self.family]
        shapes: dict[str, tuple[int, ...]] = {
            'patch_embed.projection.weight': (dims, self.in_channels, *patch)
        }
        if self.patch_bias:
            shapes['patch_embed.projection.bias'] = (dims,)
        if family.with_cls_token:
            shapes['cls_token'] = (1, 1, dims)
        if self.num_registers:
            shapes['reg_tokens'] = (1, self.num_registers, dims)
        if self.grid is not None:
            rows = math.prod(self.grid) + family.with_cls_token
            shapes['pos_embed'] = (1, rows, dims)
        norms = dict.fromkeys(
            ['pre_norm'] * self.pre_norm + ['ln1'] * self.final_norm, dims
        )
        linear = {}
        for i in range(self.num_layers):
            layer = f'layers.{i}'
            norms.update({f'{layer}.ln1': dims, f'{layer}.ln2': dims})
            linear[f'{layer}.attn.qkv'] = (3 * dims, dims)
            linear[f'{layer}.attn.proj'] = (dims, dims)
            if (self.activation or '').startswith('swiglu'):
                linear[f'{layer}.ffn.w12'] = (2 * hidden, dims)
                linear[f'{layer}.ffn.w3'] = (dims, hidden)
            else:
                linear[f'{layer}.ffn.layers.0.0'] = (hidden, dims)
                linear[f'{layer}.ffn.layers.1'] = (dims, hidden)
            if self.activation == 'swiglu_norm':
                norms[f'{layer}.ffn.norm'] = hidden
            if family.inner_norm:
                norms[f'{layer}.attn.norm'] = dims
            if self.layer_scale:
                shapes[f'{layer}.attn.gamma1.weight'] = (dims,)
                shapes[f'{layer}.ffn.gamma2.weight'] = (dims,)
        if self.pooling == 'map':
            shapes['pool.probe'] = (1, 1, dims)
            norms['pool.norm'] = dims
            linear['pool.q'] = linear['pool.proj'] = (dims, dims)
            linear['pool.kv'] = (2 * dims, dims)
            linear['pool.fc1'], linear['pool.fc2'] = (hidden, dims), (dims, hidden)
        for name, shape in linear.items():
            shapes[f'{name}.weight'] = shape
            if self.qkv_bias or not name.endswith('attn.qkv'):
                shapes[f'{name}.bias'] = shape[:1]
        for name, width in norms.items():
            shapes[f'{name}.weight'] = shapes[f'{name}.bias'] = (width,)
        return shapes

    def as_dict(self) -> dict:
        """Return the attributes as plain numbers, strings and None."""
        return asdict(self)

    def backbone_options(self) -> dict[str, Any]:
        """Return the arguments of ``PromptedVisionTransformer`` for these weights."""
        family = FAMILIES[self.family]
        arch, size = self._arch()
        options: dict[str, Any] = dict(arch=arch)
        if self.img_size is not None:
            options['img_size'] = self.img_size
        patch_size = size.patch_size or family.patch_size
        if self.family == 'vit' or self.patch_size != patch_size:
            options['patch_size'] = self.patch_size
        if self.in_channels != 3:
            options['in_channels'] = self.in_channels
        usual = dict(
            qkv_bias=family.qkv_bias if size.qkv_bias is None else size.qkv_bias,
            pre_norm=family.pre_norm,
            final_norm=True,
            num_registers=family.num_registers,
            act=size.act or family.act,
            pooling=family.pooling,
            norm_before_pool=True,
            interpolate_mode=family.positions,
            rope_dtype=None,
        )
        found = {**self.as_dict(), 'act': self.activation}
        options.update(
            {k: found[k] for k, v in usual.items() if found[k] not in (v, None)}
        )
        if self.patch_bias == self.pre_norm:
            options['patch_cfg'] = dict(bias=self.patch_bias)
        if self.layer_scale and not family.layer_scale:
            options['layer_scale_init_value'] = 1e-5  # overwritten by the weights
        if self.norm_eps not in (None, family.norm_eps):
            options['norm_cfg'] = dict(type='LN', eps=self.norm_eps)
        return options

    def _arch(self) -> tuple[str | dict[str, Any], Size]:
        """Return ``arch`` and what the size it names settles."""
        size = Size(
            self.embed_dims, self.num_layers, self.num_heads, self.feedforward_channels
        )
        family = FAMILIES[self.family]
        fitting = [(n, s) for n, s in family.sizes.items() if s[:4] == size[:4]]
        # DINOv3 S and S+ differ in their MLP alone.
        alike = [(n, s) for n, s in fitting if (s.act or family.act) == self.activation]
        for suffix, named in alike or fitting[:1]:
            return names(self.family, suffix)[0], named
        numbers = dict(zip(Size._fields, size[:4]))
        own = {} if self.family == 'vit' else dict(family=self.family)
        return {**own, **numbers}, size


def grid_of_image(img_size: int | Sequence[int], patch_size: int) -> tuple[int, int]:
    """Return rows and columns of patches of an image, square if one side is given."""
    height, width = [img_size] * 2 if isinstance(img_size, int) else img_size
    return height // patch_size, width // patch_size


def deduce(
    state: Mapping[str, Tensor],
    family: str,
    grid: tuple[int, int] | None,
    facts: Mapping[str, Any],
) -> Architecture:
    """Read the architecture off weights in the backbone's names.

    Args:
        state: The weights.
        family: Key of ``FAMILIES``.
        grid: Rows and columns of patches that positions are of, None without.
        facts: What no weight tells: ``num_heads``, ``norm_eps``, ``activation`` of a
            plain MLP, ``interpolate_mode``, ``rope_dtype``; may lack any.
    """
    row = FAMILIES[family]
    depth = 1 + max(
        (int(m[1]) for m in (re.match(r'layers\.(\d+)\.', n) for n in state) if m),
        default=-1,
    )
    swiglu = 'layers.0.ffn.w12.weight' in state
    mlp = 'layers.0.ffn.w12.weight' if swiglu else 'layers.0.ffn.layers.0.0.weight'
    for name, rank in {'patch_embed.projection.weight': 4, mlp: 2}.items():
        if name not in state:
            raise ConversionError(
                f'the checkpoint has no {name}, without which its architecture is '
                'unknown: it is incomplete or no plain Vision Transformer.'
            )
        if state[name].dim() != rank:
            raise ConversionError(
                f'{name} has shape {tuple(state[name].shape)}; expected {rank} axes.'
            )
    patch = state['patch_embed.projection.weight']
    if patch.shape[2] != patch.shape[3]:
        raise ConversionError(
            f'patches are of {patch.shape[2]} x {patch.shape[3]} pixels; only square '
            'ones are supported.'
        )
    dims, side = len(patch), patch.shape[2]
    if swiglu:
        inner = any(name.endswith('.ffn.norm.weight') for name in state)
        activation: str | None = 'swiglu_norm' if inner else 'swiglu'
    else:
        activation = facts.get('activation')
    img_size: Any = grid and tuple(n * side for n in grid)
    if img_size and img_size[0] == img_size[1]:
        img_size = img_size[0]
    pooling = facts.get('pooling', row.pooling)
    if pooling == 'map' and 'pool.probe' not in state:
        pooling = 'patches'
    return Architecture(
        family=family,
        embed_dims=dims,
        num_layers=depth,
        num_heads=_heads(facts.get('num_heads'), family, dims, depth),
        feedforward_channels=len(state[mlp]) // (2 if swiglu else 1),
        img_size=img_size,
        patch_size=side,
        in_channels=patch.shape[1],
        num_registers=state['reg_tokens'].shape[1] if 'reg_tokens' in state else 0,
        patch_bias='patch_embed.projection.bias' in state,
        qkv_bias=any(n.endswith('attn.qkv.bias') for n in state),
        pre_norm=any(n.startswith('pre_norm.') for n in state),
        final_norm=any(n.startswith('ln1.') for n in state),
        layer_scale=any(n.endswith(('gamma1.weight', 'gamma2.weight')) for n in state),
        norm_eps=facts.get('norm_eps'),
        activation=activation,
        pooling=pooling,
        norm_before_pool=facts.get('norm_before_pool', True),
        interpolate_mode=grid and facts.get('interpolate_mode', row.positions),
        rope_dtype=facts.get('rope_dtype'),
    )


def usual_heads(family: str, dims: int, depth: int) -> int | None:
    """Return the heads of the published size of this width and depth, if there is one.

    Looked up in the family first, then in all of them.
    """
    for rows in (FAMILIES[family].sizes, {n: size for n, (_, size) in SIZES.items()}):
        found = {s.num_heads for s in rows.values() if s[:2] == (dims, depth)}
        if len(found) == 1:
            return found.pop()
    return None


def _heads(given: int | None, family: str, dims: int, depth: int) -> int:
    heads = given or usual_heads(family, dims, depth)
    if heads is None:
        sizes = ', '.join(names(family, s)[0] for s in FAMILIES[family].sizes)
        raise ConversionError(
            f'the number of attention heads is in no weight, and width {dims} with '
            f'{depth} layers is none of {sizes}. Give --num-heads.'
        )
    if dims % heads:
        raise ConversionError(
            f'width {dims} is not divisible by {heads} attention heads; give the right '
            'number with --num-heads.'
        )
    return heads
