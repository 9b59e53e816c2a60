# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The plain way: every token, prompts included, runs through everything.

Slow and literal on purpose; attention is written out with softmax and a mask matrix.
"""

import math

import torch
import torch.nn.functional as F


def naive_layer(layer, x, mask=None, temperature=1.0):
    """Run one frozen layer on all tokens (B, T, C); mask (T, T) is True where blind."""
    attn = layer.attn
    b, t, c = x.shape
    heads = attn.num_heads
    bias = attn.qkv.bias
    if hasattr(attn, 'tuned_bias'):
        parts = [
            torch.zeros(c, dtype=x.dtype) if p is None else p
            for p in (getattr(attn.tuned_bias, n) for n in ('query', 'key', 'value'))
        ]
        bias = bias + torch.cat(parts)
    q, k, v = F.linear(layer.ln1(x), attn.qkv.weight, bias).chunk(3, dim=-1)
    q, k, v = (y.view(b, t, heads, c // heads).transpose(1, 2) for y in (q, k, v))
    logits = q @ k.transpose(-1, -2) / math.sqrt(c // heads) / temperature
    if mask is not None:
        logits = logits.masked_fill(mask, -math.inf)
    out = (logits.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c)
    x = x + attn.gamma1(attn.proj(out))
    return layer.ffn(layer.ln2(x), identity=x), out


def naive_tokens(vit, images):
    """Return tokens (B, 1 + M + N, C) after each layer, M, and the grid."""
    x, grid = vit.embed(images)
    e = vit.num_extra_tokens
    after, count = [], 0
    entered = left = None
    for i, layer in enumerate(vit.layers):
        extra, patches = x[:, :e], x[:, x.shape[1] - grid[0] * grid[1] :]
        if vit.prompt is not None:
            entered = vit.prompt(i, patches, grid, entered=entered, left=left)
        prompts = [] if entered is None else [entered.expand(len(x), -1, -1)]
        count = 0 if entered is None else entered.shape[1]
        x = torch.cat([extra, *prompts, patches], dim=1)
        mask = None
        if vit.prompt is not None and vit.prompt.mask:
            mask = torch.zeros(x.shape[1], x.shape[1], dtype=torch.bool)
            mask[e : e + count, : e + count] = True
        temperature = 1.0
        if vit.prompt is not None and vit.prompt.temperature(i) is not None:
            temperature = vit.prompt.temperature(i)
        x, _ = naive_layer(layer, x, mask, temperature)
        left = x[:, e : e + count]
        after.append((x, count))
    return after, grid


def naive_forward(vit, images):
    """Return what the backbone returns, computed the plain way."""
    after, grid = naive_tokens(vit, images)
    outs = []
    e = vit.num_extra_tokens
    for i in vit.out_indices:
        x, count = after[i]
        norm = torch.nn.Identity()
        if i == vit.num_layers - 1 and vit.final_norm:
            norm = vit.ln1
        if vit.out_type == 'raw':
            outs.append(norm(x))
        elif vit.out_type == 'featmap':
            patches = norm(x)[:, e + count :]
            outs.append(patches.transpose(1, 2).reshape(len(x), -1, *grid))
        elif vit.out_type == 'avg_featmap':
            outs.append(vit.ln2(norm(x)[:, e + count :].mean(1)))
        else:
            rows = {
                'cls': slice(0, 1),
                'patches': slice(e + count, None),
                'prompts': slice(e, e + count),
                'prompts_and_patches': slice(e, None),
            }[vit.pooling]
            if vit.norm_before_pool:
                outs.append(norm(x)[:, rows].mean(1))
            else:
                outs.append(norm(x[:, rows].mean(1)))
    return outs
