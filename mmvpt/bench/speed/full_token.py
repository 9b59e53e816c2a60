# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The plain way to run prompts, as a rival: every token through everything."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.models.vit.rotation import Rotation


class FullTokenViT(nn.Module):
    """A prompted ViT that sends CLS, prompts and patches through all of every layer.

    So do the released implementations of VPT and of what is built on it. Of methods
    that do more than prompts in the sequence it does every part on its own.
    Written to be a fair rival: one matrix product for queries, keys and values and
    PyTorch's fused attention, which is faster than their softmax written out. A mask on
    prompt queries is left out, since it changes no row that is read.

    Args:
        vit: The ``PromptedVisionTransformer`` whose parameters and prompts are used. It
            returns one vector for each image, and its prompt is not None.
    """

    def __init__(self, vit: nn.Module) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Return one vector for each image, (B, C).

        Args:
            images: Normalised images, (B, 3, height, width).
        """
        vit, prompt = self.vit, self.vit.prompt
        x, grid = vit.embed(images)
        begin, extra = vit.start(x, grid), vit.num_extra_tokens
        turns = begin.reads.rotation
        entered = left = companion = None
        if prompt.companion:
            places = vit.places(x, grid)
            companion = prompt.start(places, grid)
        for i, layer in enumerate(vit.layers):
            if prompt.companion:
                streams = FullStreams(layer, grid)
                x, companion = prompt.accompany(i, x, companion, streams)
                continue
            first, patches = x.tensor_split([extra], dim=1)
            entered = prompt(i, patches, grid, entered=entered, left=left)
            if prompt.position != 'sequence':
                x = crossed_layer(layer, x, entered)
                continue
            count = 0 if entered is None else entered.shape[1]
            rows = [] if entered is None else [entered.expand(len(x), -1, -1)]
            x = torch.cat([first, *rows, patches], dim=1)
            more = prompt.extra_key_values(i)
            turn = turns and turns.inserted(extra, count)
            x = full_layer(layer, x, prompt.temperature(i), more, turn)
            first, left, patches = x.tensor_split([extra, extra + count], dim=1)
            if prompt.refines:
                patches = prompt.refine(i, patches)
            x = torch.cat([first, patches], dim=1)
        return (vit.format(begin._replace(layer=vit.num_layers, tokens=x)),)


def heads_of(attn: nn.Module, x: Tensor) -> Tensor:
    """Split the channels of (B, T, C) into heads, (B, H, T, d)."""
    return x.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)


def full_layer(
    layer: nn.Module,
    x: Tensor,
    temperature: Tensor | None = None,
    key_values: Tensor | None = None,
    turn: Rotation | None = None,
) -> Tensor:
    """Run one encoder layer for all tokens, (B, T, C).

    Args:
        layer: The layer.
        x: What enters it.
        temperature: Divides the attention logits.
        key_values: Further keys and values side by side, (1, S, 2C).
        turn: How queries and keys turn, None if they do not.
    """
    attn = layer.attn
    qkv = F.linear(layer.ln1(x), attn.qkv.weight, attn.qkv.bias)
    query, seen = qkv.tensor_split([x.shape[-1]], dim=-1)
    if turn is not None:
        key, value = seen.chunk(2, dim=-1)
        query, key = (turn(y, attn.num_heads) for y in (query, key))
        seen = torch.cat([key, value], dim=-1)
    if key_values is not None:
        seen = torch.cat([key_values.expand(len(x), -1, -1), seen], dim=1)
    query, key, value = (heads_of(attn, y) for y in (query, *seen.chunk(2, dim=-1)))
    if temperature is not None:
        query = query / temperature
    out = F.scaled_dot_product_attention(query, key, value)
    x = x + attn.gamma1(attn.proj(attn.norm(out.transpose(1, 2).flatten(2))))
    return layer.ffn(layer.ln2(x), identity=x)


def crossed_layer(layer: nn.Module, x: Tensor, prompts: Tensor) -> Tensor:
    """Run a layer with cross-attention to prompts between its halves, (B, T, C).

    Every row gets a query and an output projection of its own, as released.
    """
    attn = layer.attn
    (wq, wkv), (bq, bkv) = (
        (t[: attn.embed_dims], t[attn.embed_dims :])
        for t in (attn.qkv.weight, attn.qkv.bias)
    )
    qkv = F.linear(layer.ln1(x), attn.qkv.weight, attn.qkv.bias)
    out = F.scaled_dot_product_attention(
        *(heads_of(attn, y) for y in qkv.chunk(3, dim=-1))
    )
    x = x + attn.gamma1(attn.proj(out.transpose(1, 2).flatten(2)))
    seen = F.linear(prompts.expand(len(x), -1, -1), wkv, bkv)
    out = F.scaled_dot_product_attention(
        *(heads_of(attn, y) for y in (F.linear(x, wq, bq), *seen.chunk(2, dim=-1)))
    )
    x = x + attn.proj(out.transpose(1, 2).flatten(2))
    return layer.ffn(layer.ln2(x), identity=x)


class FullStreams:
    """A layer as ``accompany`` of a prompt sees it; everything is computed anew.

    Attention to neighbours is one of all rows to all under a mask: the release loops
    over patches, which is slower still.

    Args:
        layer: The layer.
        grid: Rows and columns of the patches.
    """

    cls_only, companion_read = False, True

    def __init__(self, layer: nn.Module, grid: tuple[int, int]) -> None:
        self.layer, self.grid = layer, grid

    def run(self, x: Tensor) -> Tensor:
        """Put a stream through the layer."""
        return full_layer(self.layer, x)

    def meet(
        self, x: Tensor, y: Tensor, heads: str = 'all', border: str = 'cut'
    ) -> Tensor:
        """Let the rows of ``x`` ask ``y``; all heads, borders cut."""
        attn, ln1 = self.layer.attn, self.layer.ln1
        count = max(len(x), len(y))
        dims = attn.embed_dims
        query = F.linear(ln1(x), attn.qkv.weight[:dims], attn.qkv.bias[:dims])
        seen = F.linear(ln1(y), attn.qkv.weight[dims:], attn.qkv.bias[dims:])
        parts = (query, *seen.chunk(2, dim=-1))
        query, key, value = (
            heads_of(attn, part.expand(count, -1, -1)) for part in parts
        )
        out = F.scaled_dot_product_attention(
            query, key, value, attn_mask=self._neighbours(x.device)
        )
        return attn.proj(out.transpose(1, 2).flatten(2))

    def _neighbours(self, device: torch.device) -> Tensor:
        """Return what each row sees, (T, T): CLS everything, a patch 3 x 3 patches."""
        rows, columns = (torch.arange(n, device=device) for n in self.grid)
        near = [(n[:, None] - n).abs() <= 1 for n in (rows, columns)]
        patches = near[0][:, None, :, None] & near[1][None, :, None, :]
        patches = patches.flatten(2).flatten(0, 1)
        return F.pad(F.pad(patches, (1, 0)), (0, 0, 1, 0), value=True)
