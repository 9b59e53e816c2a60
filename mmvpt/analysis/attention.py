# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Where CLS and prompts look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.models.vit import PromptedVisionTransformer

from .layers import LayerInput, prompted_backbone, read_layers, resolve_layer


@dataclass(frozen=True)
class Attention:
    """Attention weights of one layer; every row sums to 1.

    Keys are in the order [CLS, prompts, patches], T in all.

    Args:
        layer: Index of the layer, from 0.
        cls: Of CLS, (B, H, T); None for a backbone without CLS.
        prompts: Of the prompts as queries, (B, H, M, T). With ``mask`` in the prompt
            they see patches only, and all else is 0.
        num_extra: 1 with CLS, else 0.
        grid: Rows and columns of the patches.
    """

    layer: int
    cls: Tensor | None
    prompts: Tensor
    num_extra: int
    grid: tuple[int, int]

    @property
    def num_prompts(self) -> int:
        """Number of prompts (M)."""
        return self.prompts.shape[2]

    def cls_to_prompts(self) -> Tensor:
        """Return what CLS gives to each prompt, (B, H, M)."""
        return self._cls()[..., self.num_extra : self.num_extra + self.num_prompts]

    def cls_to_patches(self) -> Tensor:
        """Return what CLS gives to each patch, (B, H, rows, columns)."""
        patches = self._cls()[..., self.num_extra + self.num_prompts :]
        return patches.unflatten(-1, self.grid)

    def prompts_to_patches(self) -> Tensor:
        """Return what each prompt gives to each patch, (B, H, M, rows, columns)."""
        patches = self.prompts[..., self.num_extra + self.num_prompts :]
        return patches.unflatten(-1, self.grid)

    def _cls(self) -> Tensor:
        if self.cls is None:
            raise UserError('the backbone has no CLS token (with_cls_token=False).')
        return self.cls


@torch.no_grad()
def layer_attention(
    backbone: PromptedVisionTransformer, entered: LayerInput
) -> Attention:
    r"""Compute the weights of CLS and prompts in one layer, as the layer does.

    :math:`\mathrm{softmax}(q K^T / (\tau \sqrt d))` with the layer's norm, projections
    (tuned biases and adapters included), temperature :math:`\tau` and prompt mask.

    Args:
        backbone: The backbone.
        entered: What entered the layer, from :func:`read_layers`.
    """
    layer = backbone.layers[entered.layer]
    extra, rows = entered.num_extra, entered.num_extra + entered.num_prompts
    normed = layer.ln1(entered.sequence())
    heads = layer.attn.num_heads, layer.attn.head_dims
    query = layer.attn.project(normed[:, :rows], 0, 1)
    key = layer.attn.project(normed, 1, 1)
    if entered.rotation is not None:
        turns = entered.rotation.inserted(extra, entered.num_prompts)
        query, key = turns(query, heads[0]), turns(key, heads[0])
    query, key = query.unflatten(-1, heads), key.unflatten(-1, heads)
    logits = query.transpose(1, 2) @ key.permute(0, 2, 3, 1) / layer.attn.head_dims**0.5
    temperature = backbone.prompt.temperature(entered.layer)
    if temperature is not None:
        logits = logits / temperature
    if backbone.prompt.mask:
        logits[:, :, extra:, :rows] = -torch.inf
    weights = backbone.wide(logits).softmax(dim=-1)
    return Attention(
        layer=entered.layer,
        cls=weights[:, :, 0] if extra else None,
        prompts=weights[:, :, extra:],
        num_extra=extra,
        grid=entered.grid,
    )


def attention_maps(
    model: nn.Module, inputs: Tensor, layers: Sequence[int] | None = None
) -> list[Attention]:
    """Compute the attention weights of CLS and prompts.

    For a segmentor it is one pass over the whole of ``inputs``, not over the windows of
    a sliding inference.

    Args:
        model: A model with one prompted backbone.
        inputs: Preprocessed images, (B, in_channels, height, width).
        layers: Indices, negative from the end; None for all.

    Raises:
        UserError: If the model has no prompts, or for a layer that does not run.
    """
    backbone = prompted_backbone(model)
    entered = read_layers(backbone, inputs)
    indices = range(len(entered)) if layers is None else layers
    return [
        layer_attention(backbone, entered[resolve_layer(backbone, i)]) for i in indices
    ]


def attention_arrays(maps: Sequence[Attention]) -> dict[str, np.ndarray]:
    """Turn attention weights into arrays to save.

    Args:
        maps: What :func:`attention_maps` returned.

    Returns:
        ``layers`` and ``num_prompts`` (L,), ``grid`` (2,), ``num_extra``; for each
        layer i ``cls_i`` (B, H, T), if there is CLS, and ``prompts_i`` (B, H, M, T).
    """
    arrays = dict(
        layers=np.array([one.layer for one in maps]),
        num_prompts=np.array([one.num_prompts for one in maps]),
        grid=np.array(maps[0].grid),
        num_extra=np.array(maps[0].num_extra),
    )
    for one in maps:
        if one.cls is not None:
            arrays[f'cls_{one.layer}'] = one.cls.float().cpu().numpy()
        arrays[f'prompts_{one.layer}'] = one.prompts.float().cpu().numpy()
    return arrays


def shares(maps: Sequence[Attention]) -> np.ndarray:
    """Return how CLS divides its attention, mean over images and heads.

    Args:
        maps: What :func:`attention_maps` returned.

    Returns:
        (L, 3): shares of CLS itself, of the prompts together, and of the patches
        together; each row sums to 1.
    """
    rows = []
    for one in maps:
        prompts = one.cls_to_prompts().sum(-1).mean()
        patches = one.cls_to_patches().sum((-2, -1)).mean()
        rows.append(torch.stack([1 - prompts - patches, prompts, patches]))
    return torch.stack(rows).float().cpu().numpy()
