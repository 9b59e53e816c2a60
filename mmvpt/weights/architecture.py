# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What a state dict in mmpretrain's names says about its Vision Transformer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from torch import Tensor

from mmvpt.checkpoint import CheckpointError


class ConversionError(CheckpointError):
    """Weights that cannot be converted; the message names keys and remedy."""


# Name: width, layers, heads; the hidden width of the MLP is four times the width.
ARCHITECTURES = {
    'vit-ti': (192, 12, 3),
    'vit-s': (384, 12, 6),
    'vit-b': (768, 12, 12),
    'vit-l': (1024, 24, 16),
    'vit-h': (1280, 32, 16),
}
ACTIVATIONS = ('gelu', 'quick_gelu')


@dataclass(frozen=True)
class Architecture:
    """The shape of a Vision Transformer, and what no shape tells.

    Attributes:
        embed_dims: Width C.
        num_layers: Layers L.
        num_heads: Heads H; no weight tells, so it is given or looked up.
        feedforward_channels: Hidden width of the MLP.
        img_size: Side in pixels of the square image of the position embedding.
        patch_size: Side of a patch in pixels.
        in_channels: Channels of an image.
        patch_bias: Whether the patch projection has a bias.
        qkv_bias: Whether queries, keys and values have one.
        pre_norm: Whether a norm precedes the layers (CLIP).
        final_norm: Whether a norm follows the layers.
        layer_scale: Whether branches are scaled (DINOv2).
        norm_eps: Epsilon of the norms, None if unknown.
        activation: Of the MLP, ``gelu`` or ``quick_gelu``, None if unknown.
    """

    embed_dims: int
    num_layers: int
    num_heads: int
    feedforward_channels: int
    img_size: int
    patch_size: int
    in_channels: int
    patch_bias: bool
    qkv_bias: bool
    pre_norm: bool
    final_norm: bool
    layer_scale: bool
    norm_eps: float | None
    activation: str | None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return every key that the weights must have, with its shape."""
        dims, hidden = self.embed_dims, self.feedforward_channels
        patches = (self.img_size // self.patch_size) ** 2
        shapes = {
            'cls_token': (1, 1, dims),
            'pos_embed': (1, 1 + patches, dims),
            'patch_embed.projection.weight': (
                dims,
                self.in_channels,
                self.patch_size,
                self.patch_size,
            ),
        }
        if self.patch_bias:
            shapes['patch_embed.projection.bias'] = (dims,)
        norms = [n for n, has in _norms(self) if has]
        linear = {
            'attn.qkv': (3 * dims, dims),
            'attn.proj': (dims, dims),
            'ffn.layers.0.0': (hidden, dims),
            'ffn.layers.1': (dims, hidden),
        }
        for i in range(self.num_layers):
            norms += [f'layers.{i}.ln1', f'layers.{i}.ln2']
            for name, shape in linear.items():
                shapes[f'layers.{i}.{name}.weight'] = shape
                if name != 'attn.qkv' or self.qkv_bias:
                    shapes[f'layers.{i}.{name}.bias'] = shape[:1]
            if self.layer_scale:
                shapes[f'layers.{i}.attn.gamma1.weight'] = (dims,)
                shapes[f'layers.{i}.ffn.gamma2.weight'] = (dims,)
        for norm in norms:
            shapes[f'{norm}.weight'] = shapes[f'{norm}.bias'] = (dims,)
        return shapes

    def as_dict(self) -> dict:
        """Return the attributes as plain numbers, strings and None."""
        return asdict(self)

    def backbone_options(self) -> dict:
        """Return the arguments of ``PromptedVisionTransformer`` for these weights."""
        keys = ('embed_dims', 'num_layers', 'num_heads', 'feedforward_channels')
        options: dict = dict(
            arch={key: getattr(self, key) for key in keys},
            img_size=self.img_size,
            patch_size=self.patch_size,
        )
        for name, (dims, layers, heads) in ARCHITECTURES.items():
            if tuple(options['arch'].values()) == (dims, layers, heads, 4 * dims):
                options['arch'] = name
                break
        if self.in_channels != 3:
            options['in_channels'] = self.in_channels
        if not self.qkv_bias:
            options['qkv_bias'] = False
        if self.pre_norm:
            options['pre_norm'] = True
        if self.patch_bias == self.pre_norm:
            options['patch_cfg'] = dict(bias=self.patch_bias)
        if not self.final_norm:
            options['final_norm'] = False
        if self.layer_scale:
            options['layer_scale_init_value'] = 1e-5  # overwritten by the weights
        if self.norm_eps not in (None, 1e-6):
            options['norm_cfg'] = dict(type='LN', eps=self.norm_eps)
        if self.activation == 'quick_gelu':
            options['layer_cfgs'] = dict(act_cfg=dict(type='mmpretrain.QuickGELU'))
        return options


def _norms(arch: Architecture) -> list[tuple[str, bool]]:
    return [('pre_norm', arch.pre_norm), ('ln1', arch.final_norm)]


def deduce(
    state: Mapping[str, Tensor],
    num_heads: int | None = None,
    norm_eps: float | None = None,
    activation: str | None = None,
) -> Architecture:
    """Read the architecture off weights in mmpretrain's names.

    Args:
        state: The weights; positions with a row for the class token.
        num_heads: Heads, if known; else the usual number for the width and depth.
        norm_eps: Epsilon of the norms, if known.
        activation: Of the MLP, if known.

    Raises:
        ConversionError: If a weight that tells the width, depth, patch or grid is
            missing or of the wrong rank, the heads are unknown, or they do not divide
            the width.
    """
    depth = 1 + max(
        (int(m[1]) for m in (re.match(r'layers\.(\d+)\.', n) for n in state) if m),
        default=-1,
    )
    ranks = {'pos_embed': 3, 'patch_embed.projection.weight': 4}
    mlp = 'layers.0.ffn.layers.0.0.weight'
    for name, rank in {**ranks, mlp: 2}.items():
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
    dims = state['pos_embed'].shape[2]
    patches = state['pos_embed'].shape[1] - 1
    side = math.isqrt(max(patches, 0))
    if side**2 != patches or patch.shape[2] != patch.shape[3]:
        raise ConversionError(
            f'the positions are of {patches} patches of {patch.shape[2]} x '
            f'{patch.shape[3]} pixels; only square grids of square patches are '
            'supported.'
        )
    return Architecture(
        embed_dims=dims,
        num_layers=depth,
        num_heads=_heads(num_heads, dims, depth),
        feedforward_channels=state[mlp].shape[0],
        img_size=side * patch.shape[2],
        patch_size=patch.shape[2],
        in_channels=patch.shape[1],
        patch_bias='patch_embed.projection.bias' in state,
        qkv_bias=any(n.endswith('attn.qkv.bias') for n in state),
        pre_norm=any(n.startswith('pre_norm.') for n in state),
        final_norm=any(n.startswith('ln1.') for n in state),
        layer_scale=any(n.endswith(('gamma1.weight', 'gamma2.weight')) for n in state),
        norm_eps=norm_eps,
        activation=activation,
    )


def _heads(given: int | None, dims: int, depth: int) -> int:
    usual = {(d, n): heads for d, n, heads in ARCHITECTURES.values()}
    heads = given or usual.get((dims, depth))
    if heads is None:
        raise ConversionError(
            f'the number of attention heads is in no weight, and width {dims} with '
            f'{depth} layers is none of {", ".join(ARCHITECTURES)}. Give --num-heads.'
        )
    if dims % heads:
        raise ConversionError(
            f'width {dims} is not divisible by {heads} attention heads; give the right '
            'number with --num-heads.'
        )
    return heads
