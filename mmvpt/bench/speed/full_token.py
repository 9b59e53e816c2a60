# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The plain way to run prompts, as a rival: every token through everything."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FullTokenViT(nn.Module):
    """A prompted ViT that sends CLS, prompts and patches through all of every layer.

    So do the released implementations of VPT, Gated Prompt Tuning, VAPT and DA-VPT.
    Written to be a fair rival: one matrix product for queries, keys and values and
    PyTorch's fused attention, which is faster than their softmax written out. A mask on
    prompt queries is left out, since it changes no row that is read.

    Args:
        vit: The ``PromptedVisionTransformer`` whose parameters and prompts are used. It
            returns CLS, and its prompt is not None.
    """

    def __init__(self, vit: nn.Module) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Return CLS after the final norm, (B, C).

        Args:
            images: Normalised images, (B, 3, height, width).
        """
        vit = self.vit
        x, grid = vit.embed(images)
        patches = x[:, 1:]
        entered = left = None
        for i, layer in enumerate(vit.layers):
            entered = vit.prompt(i, patches, grid, entered=entered, left=left)
            count = entered.shape[1]
            x = torch.cat([x[:, :1], entered.expand(len(x), -1, -1), patches], dim=1)
            x = full_layer(layer, x, vit.prompt.temperature(i))
            left, patches = x[:, 1 : 1 + count], x[:, 1 + count :]
        return (vit.ln1(x)[:, 0],)


def full_layer(layer: nn.Module, x: Tensor, temperature: Tensor | None) -> Tensor:
    """Run one encoder layer of mmpretrain for all tokens, (B, T, C)."""
    attn = layer.attn
    qkv = F.linear(layer.ln1(x), attn.qkv.weight, attn.qkv.bias)
    qkv = qkv.reshape(*x.shape[:2], 3, attn.num_heads, attn.head_dims)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    if temperature is not None:
        query = query / temperature
    out = F.scaled_dot_product_attention(query, key, value)
    x = x + attn.gamma1(attn.proj(out.transpose(1, 2).flatten(2)))
    return layer.ffn(layer.ln2(x), identity=x)
