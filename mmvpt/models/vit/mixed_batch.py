# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""One batch of images for several backbones that share frozen weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layer import attend_to, meets_tokens, prompted_layer
from .vit import PromptedVisionTransformer


class _Part(NamedTuple):
    """Where the images of one backbone are within a layer."""

    tokens: Tensor
    prompts: Tensor | None = None
    left: Tensor | None = None


def run_mixed(
    vits: Sequence[PromptedVisionTransformer], images: Sequence[Tensor]
) -> list[tuple[Tensor, ...]]:
    r"""Run images through their backbones, together wherever weights are shared.

    In every layer, backbones whose parameters of it are the same tensors run as one
    batch; each image brings the keys and values of its own prompts. Unlike numbers of
    prompts are filled up with keys that get a logit of :math:`-\infty`. Apart run
    layers that are tuned, and those whose rows at the prompts are read afterwards. What
    comes out is what each backbone computes by itself.

    Args:
        vits: Different backbones, in eval mode.
        images: Normalised images of each, (B_k, in_channels, height, width), all of
            one size.

    Returns:
        The outputs of each backbone.

    Raises:
        ValueError: If a backbone is in training mode.
    """
    if any(vit.training for vit in vits):
        raise ValueError('mixed batches are for evaluation: call eval() first.')
    parts, grid = _embed(vits, images)
    outs: list[list[Tensor]] = [[] for _ in vits]
    whole: dict[tuple[int, ...], Tensor] = {}
    for i in range(max(vit.out_indices[-1] for vit in vits) + 1):
        groups: dict[tuple, list[int]] = {}
        for k, vit in enumerate(vits):
            if i <= vit.out_indices[-1]:
                groups.setdefault(_together(vit, i) or (k,), []).append(k)
        joined = {}
        for members in map(tuple, groups.values()):
            if len(members) == 1:
                k = members[0]
                parts[k] = _run_alone(vits[k], i, parts[k], grid)
                continue
            tokens = whole.get(members)
            if tokens is None:
                tokens = torch.cat([parts[k].tokens for k in members])
            entering = [_enter(vits[k], i, parts[k], grid) for k in members]
            sizes = [len(images[k]) for k in members]
            joined[members] = tokens = _run_together(
                vits[members[0]], i, tokens, [seen for _, seen in entering], sizes
            )
            for k, rows, (prompts, _) in zip(members, tokens.split(sizes), entering):
                parts[k] = _Part(rows, prompts)
        whole = joined
        for k, vit in enumerate(vits):
            if i in vit.out_indices:
                tokens, _, left = parts[k]
                outs[k].append(vit.format(tokens, left, grid, vit.final_norm_after(i)))
    return [tuple(out) for out in outs]


def _embed(
    vits: Sequence[PromptedVisionTransformer], images: Sequence[Tensor]
) -> tuple[dict[int, _Part], tuple[int, int]]:
    """Embed images, those of backbones with the same embedding together."""
    groups: dict[tuple, list[int]] = {}
    for k, vit in enumerate(vits):
        modules = (vit.patch_embed, vit.pre_norm)
        same = [vit.cls_token, vit.pos_embed, *_tensors(*modules)]
        settings = (tuple(vit.patch_resolution), vit.interpolate_mode)
        groups.setdefault((settings, *map(id, same)), []).append(k)
    parts: dict[int, _Part] = {}
    for members in groups.values():
        tokens, grid = vits[members[0]].embed(torch.cat([images[k] for k in members]))
        sizes = [len(images[k]) for k in members]
        for k, rows in zip(members, tokens.split(sizes)):
            parts[k] = _Part(rows)
    return parts, grid


def _tensors(*modules: nn.Module) -> list[Tensor]:
    return [t for m in modules for t in (*m.parameters(), *m.buffers())]


def _together(vit: PromptedVisionTransformer, i: int) -> tuple[int, ...] | None:
    """Return what all who run layer ``i`` with ``vit`` have alike; None if alone."""
    prompt = vit.prompt
    if prompt is not None and (
        vit.keeps_prompts(i) or prompt.temperature(i) is not None
    ):
        return None
    weights = map(id, _tensors(vit.layers[i]))
    return (vit.reads_cls_only(i), vit.num_extra_tokens, *weights)


def _run_alone(
    vit: PromptedVisionTransformer, i: int, part: _Part, grid: tuple[int, int]
) -> _Part:
    patches = part.tokens[:, vit.num_extra_tokens :]
    prompts, seen = vit.enter(i, patches, grid, part.prompts, part.left)
    tokens, left = vit.run_layer(i, part.tokens, prompts, seen)
    return _Part(tokens, prompts, left)


def _enter(
    vit: PromptedVisionTransformer, i: int, part: _Part, grid: tuple[int, int]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the prompts of layer ``i`` and what its attention sees for each image."""
    patches = part.tokens[:, vit.num_extra_tokens :]
    prompts, seen = vit.enter(i, patches, grid, part.prompts, part.left)
    if prompts is None:
        return None, None
    if seen is None:
        once = meets_tokens(vit.layers[i].attn, vit.reads_cls_only(i))
        seen = attend_to(vit.layers[i], prompts, once)
    return prompts, seen.expand(len(patches), -1, -1)


def _run_together(
    vit: PromptedVisionTransformer,
    i: int,
    tokens: Tensor,
    entering: list[Tensor | None],
    sizes: list[int],
) -> Tensor:
    """Run layer ``i`` for joined tokens (B, T, C) and what each part sees besides."""
    seen = [part for part in entering if part is not None]
    attended = bias = None
    if seen:
        most = max(part.shape[1] for part in seen)
        filled = [
            seen[0].new_zeros(size, most, seen[0].shape[-1])
            if part is None
            else F.pad(part, (0, 0, 0, most - part.shape[1]))
            for part, size in zip(entering, sizes)
        ]
        attended = torch.cat(filled)
        counts = [0 if part is None else part.shape[1] for part in entering]
        if min(counts) < most:
            bias = _hide(tokens, counts, sizes, most)
    rows, _, _ = prompted_layer(
        *(vit.layers[i], tokens, None, attended),
        num_extra=vit.num_extra_tokens,
        cls_only=vit.reads_cls_only(i),
        logit_bias=bias,
    )
    return rows


def _hide(tokens: Tensor, counts: list[int], sizes: list[int], most: int) -> Tensor:
    """Return what hides keys beyond each part's count, (B, 1, 1, T + most)."""
    bias = tokens.new_zeros(len(tokens), 1, 1, tokens.shape[1] + most)
    for rows, count in zip(bias.split(sizes), counts):
        rows[..., tokens.shape[1] + count :] = float('-inf')
    return bias
