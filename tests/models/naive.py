# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The plain way: every token, prompts included, runs through everything.

Slow and literal on purpose; attention is written out with softmax and a mask matrix.
"""

import math

import torch
import torch.nn.functional as F


def naive_qkv(layer, x):
    """Return queries, keys and values of tokens (B, T, C), each (B, T, C)."""
    attn = layer.attn
    bias = attn.qkv.bias
    if hasattr(attn, 'tuned_bias'):
        parts = [
            torch.zeros_like(bias[: attn.embed_dims]) if p is None else p
            for p in (getattr(attn.tuned_bias, n) for n in ('query', 'key', 'value'))
        ]
        bias = bias + torch.cat(parts)
    return F.linear(layer.ln1(x), attn.qkv.weight, bias).chunk(3, dim=-1)


def naive_layer(layer, x, mask=None, temperature=1.0):
    """Run one layer on all tokens (B, T, C); mask (T, T) is True where blind."""
    attn = layer.attn
    b, t, c = x.shape
    heads = attn.num_heads
    q, k, v = (
        y.view(b, t, heads, c // heads).transpose(1, 2) for y in naive_qkv(layer, x)
    )
    logits = q @ k.transpose(-1, -2) / math.sqrt(c // heads) / temperature
    if mask is not None:
        logits = logits.masked_fill(mask, -math.inf)
    weights = F.dropout(logits.softmax(-1), attn.attn_drop, attn.training)
    out = (weights @ v).transpose(1, 2).reshape(b, t, c)
    x = x + attn.out_drop(attn.gamma1(attn.proj_drop(attn.proj(out))))
    return layer.ffn(layer.ln2(x), identity=x), out


def naive_operands(layer, z, attention, extra, count):
    """Return all that a metric loss can read of a layer that tokens z entered."""
    at, behind = slice(extra, extra + count), slice(extra + count, None)
    q, k, _ = naive_qkv(layer, z)
    whole = dict(
        patches=z[:, behind],
        patches_query=q[:, behind],
        patches_key=k[:, behind],
        output_patches=attention[:, behind],
    )
    return dict(
        whole,
        patch=whole['patches'].mean(1),
        patch_query=whole['patches_query'].mean(1),
        patch_key=whole['patches_key'].mean(1),
        output_patch=whole['output_patches'].mean(1),
        output=attention[:, at],
        cls=z[:, 0],
        cls_query=q[:, 0],
        cls_key=k[:, 0],
        prompt_query=q[:, at].mean(0),
        prompt_key=k[:, at].mean(0),
    )


def naive_tokens(vit, images, records=None):
    """Return tokens (B, 1 + M + N, C) after each layer, M, and the grid.

    To the list ``records`` are appended guided layers and what could be read of them.
    """
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
        z = x
        x, attention = naive_layer(layer, z, mask, temperature)
        if records is not None and i in vit.prompt.guided_layers:
            operands = naive_operands(layer, z, attention, e, count)
            records.append((i, dict(operands, prompt=vit.prompt.proxies(i))))
        left = x[:, e : e + count]
        after.append((x, count))
    return after, grid


def naive_forward(vit, images, records=None):
    """Return what the backbone returns, computed the plain way."""
    after, grid = naive_tokens(vit, images, records)
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
