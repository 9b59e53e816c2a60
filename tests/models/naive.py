# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The plain way: every token, prompts included, runs through everything.

Slow and literal on purpose; attention is written out with softmax and a mask matrix.
"""

import functools
import math

import torch
import torch.nn.functional as F

from tests.models.naive_streams import NaiveStreams, naive_bias


def naive_qkv(layer, x):
    """Return queries, keys and values of tokens (B, T, C), each (B, T, C)."""
    attn = layer.attn
    if hasattr(attn.qkv, 'adapter'):  # a hook changes the whole projection
        return attn.qkv(layer.ln1(x)).chunk(3, dim=-1)
    return F.linear(layer.ln1(x), attn.qkv.weight, naive_bias(attn)).chunk(3, dim=-1)


def naive_angles(vit, grid):
    """Return the angle of each patch and pair of channels, (N, d / 2), by loops."""
    quarter = vit.embed_dims // vit.arch_settings['num_heads'] // 4
    dinov3, pe = vit.family == 'dinov3', vit.family == 'pe-core'
    angles = []
    for row in range(grid[0]):
        for column in range(grid[1]):
            places = []
            both = ((row, grid[0]), (column, grid[1]))
            for place, size in both[::-1] if pe else both:
                for k in range(quarter):
                    if dinov3:
                        period = 100 ** (k / quarter)
                        if vit.rope_dtype == 'bfloat16':
                            period = torch.tensor(period).bfloat16().item()
                        u = 2 * (place + 0.5) / size - 1
                        places.append(2 * math.pi * u / period)
                    else:
                        u = place + 1 if pe else 16 * place / size
                        places.append(u / 10000 ** (k / quarter))
            angles.append(places)
    return torch.tensor(angles, dtype=torch.float64)


def naive_rotate(vit, x, grid, first):
    """Turn pairs of channels as complex numbers; rows of x (B, T, C) before ``first``,
    where the patches begin, stay."""
    angles = naive_angles(vit, grid)
    turns = torch.polar(torch.ones_like(angles), angles)[:, None]
    heads = x[:, first:].unflatten(-1, (vit.arch_settings['num_heads'], -1))
    if vit.family == 'dinov3':
        half = heads.shape[-1] // 2
        y = torch.complex(heads[..., :half], heads[..., half:]) * turns
        y = torch.cat([y.real, y.imag], dim=-1)
    else:
        y = torch.view_as_complex(heads.unflatten(-1, (-1, 2)).contiguous()) * turns
        y = torch.view_as_real(y).flatten(-2)
    return torch.cat([x[:, :first], y.flatten(-2)], dim=1)


def naive_cross(layer, x, prompts):
    """Attention of x (B, T, C) to prompts (1 or B, M, C) alone; no norm, no turns."""
    attn = layer.attn
    heads = (attn.num_heads, attn.head_dims)
    weight, bias = attn.qkv.weight, naive_bias(attn)
    q = F.linear(x, weight, bias).chunk(3, -1)[0]
    _, k, v = F.linear(prompts.expand(len(x), -1, -1), weight, bias).chunk(3, -1)
    q, k, v = (y.unflatten(-1, heads).transpose(1, 2) for y in (q, k, v))
    weights = (q @ k.mT / math.sqrt(attn.head_dims)).softmax(-1)
    out = (weights @ v).transpose(1, 2).flatten(2)
    return attn.gamma1(attn.proj(attn.norm(out)))


def naive_layer(
    layer,
    x,
    mask=None,
    temperature=1.0,
    vit=None,
    grid=None,
    first=0,
    more=None,
    cross=None,
    position=None,
):
    """Run one layer on all tokens (B, T, C); mask (T, T) is True where blind.

    ``more`` are further keys and values, (1 or B, S, 2C); ``cross`` are prompts that
    are met at ``position``; patches begin at row ``first``.
    """
    attn = layer.attn
    b, t, c = x.shape
    heads = attn.num_heads
    if position == 'before':
        x = x + naive_cross(layer, x, cross)
    q, k, v = naive_qkv(layer, x)
    if vit is not None and vit.rotary is not None:
        q, k = (naive_rotate(vit, y, grid, first) for y in (q, k))
    if more is not None:
        k, v = (
            torch.cat([y, z.expand(b, -1, -1)], 1)
            for y, z in zip((k, v), more.chunk(2, -1))
        )
        if mask is not None:
            rows = mask.any(dim=1, keepdim=True)
            mask = torch.cat([mask, rows.expand(-1, more.shape[1])], dim=1)
    q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (q, k, v))
    logits = q @ k.transpose(-1, -2) / math.sqrt(c // heads) / temperature
    if mask is not None:
        logits = logits.masked_fill(mask, -math.inf)
    weights = F.dropout(logits.softmax(-1), attn.attn_drop, attn.training)
    out = (weights @ v).transpose(1, 2).reshape(b, t, c)
    branch = attn.gamma1(attn.proj_drop(attn.proj(attn.norm(out))))
    if position == 'attention':
        branch = branch + naive_cross(layer, x, cross)
    x = x + attn.out_drop(branch)
    if position == 'between':
        x = x + naive_cross(layer, x, cross)
    normed = layer.ln2(x)
    if position == 'mlp':
        normed = normed + naive_cross(layer, x, cross)
    x = layer.ffn(normed, identity=x)
    if position == 'after':
        x = x + naive_cross(layer, x, cross)
    return x, out


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
    entered = left = companion = None
    for i, layer in enumerate(vit.layers):
        if vit.prompt is not None and vit.prompt.companion:
            if i == 0:
                companion = vit.prompt.start(vit.places(x, grid), grid)
            cls_only = vit.reads_cls_only(i)
            through = functools.partial(naive_layer, vit=vit, grid=grid, first=e)

            def turn(y):
                return naive_rotate(vit, y, grid, e) if vit.rotary is not None else y

            view = NaiveStreams(layer, through, grid, cls_only, turn)
            x, companion = vit.prompt.accompany(i, x, companion, view)
            after.append((x, 0))
            continue
        extra, patches = x[:, :e], x[:, x.shape[1] - grid[0] * grid[1] :]
        more = cross = None
        if vit.prompt is not None:
            entered = vit.prompt(i, patches, grid, entered=entered, left=left)
            more = vit.prompt.extra_key_values(i)
            if vit.prompt.position != 'sequence':
                entered, cross = None, entered
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
        position = None if cross is None else vit.prompt.position
        x, attention = naive_layer(
            layer, z, mask, temperature, vit, grid, e + count, more, cross, position
        )
        if records is not None and i in vit.prompt.guided_layers:
            operands = naive_operands(layer, z, attention, e, count)
            records.append((i, dict(operands, prompt=vit.prompt.proxies(i))))
        left = x[:, e : e + count]
        if vit.prompt is not None and vit.prompt.refines:
            refined = vit.prompt.refine(i, x[:, e + count :])
            x = torch.cat([x[:, : e + count], refined], dim=1)
        after.append((x, count))
    return after, grid


def naive_pool(pool, patches):
    """Return the vector of the attention pool, (B, C), by PyTorch's own attention."""
    dims = patches.shape[-1]
    attn = torch.nn.MultiheadAttention(dims, pool.num_heads, batch_first=True).to(
        patches
    )
    weight = torch.cat([pool.q.weight, pool.kv.weight])
    bias = torch.cat([pool.q.bias, pool.kv.bias])
    state = {
        'in_proj_weight': weight,
        'in_proj_bias': bias,
        'out_proj.weight': pool.proj.weight,
        'out_proj.bias': pool.proj.bias,
    }
    probe = pool.probe.expand(len(patches), -1, -1)
    a, _ = torch.func.functional_call(attn, state, (probe, patches, patches))
    return (a + pool.fc2(pool.act(pool.fc1(pool.norm(a)))))[:, 0]


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
        elif vit.pooling == 'map':
            rows = torch.cat([x[:, : int(vit.with_cls_token)], x[:, e + count :]], 1)
            outs.append(naive_pool(vit.pool, norm(rows)))
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
