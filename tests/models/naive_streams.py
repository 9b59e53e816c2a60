# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Two streams through a layer in the plain way, one row and one head at a time."""

import math

import torch
import torch.nn.functional as F


def naive_bias(attn):
    """Return the bias of queries, keys and values, (3C,), with what is tuned of it."""
    bias = attn.qkv.bias
    if not hasattr(attn, 'tuned_bias'):
        return bias
    parts = [
        torch.zeros_like(bias[: attn.embed_dims]) if p is None else p
        for p in (getattr(attn.tuned_bias, n) for n in ('query', 'key', 'value'))
    ]
    return bias + torch.cat(parts)


def _project(layer, x):
    attn, x = layer.attn, layer.ln1(x)
    if hasattr(attn.qkv, 'adapter'):
        return attn.qkv(x)
    return F.linear(x, attn.qkv.weight, naive_bias(attn))


def answer(layer, x, y, grid, heads='all', border='cut', turn=lambda x: x):
    """Let each row of ``x`` ask what it may of ``y``, (B, T, C), before any norm."""
    attn, dims = layer.attn, x.shape[-1]
    extra = x.shape[1] - grid[0] * grid[1]
    q = _project(layer, x)[..., :dims]
    k, v = _project(layer, y)[..., dims:].chunk(2, dim=-1)
    q, k = turn(q), turn(k)
    count = attn.num_heads if heads == 'all' else 1
    width, rows = dims // count, []
    for t in range(x.shape[1]):
        places, missing = list(range(x.shape[1])), 0
        if t >= extra:
            row, column = divmod(t - extra, grid[1])
            around = [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            inside = [p for p in around if 0 <= p[0] < grid[0] and 0 <= p[1] < grid[1]]
            places = [extra + i * grid[1] + j for i, j in inside]
            missing = 9 - len(inside) if border == 'pad' else 0
        out = []
        for h in range(count):
            part = slice(h * width, (h + 1) * width)
            logits = q[:, t, part][:, None] @ k[:, places, part].mT / math.sqrt(width)
            weights = logits.exp()  # a place that is padded adds exp(0)
            weights = weights / (weights.sum(-1, keepdim=True) + missing)
            out.append(weights @ v[:, places, part])
        rows.append(torch.cat(out, -1))
    return attn.proj(attn.norm(torch.cat(rows, 1)))


class NaiveStreams:
    """A layer as ``accompany`` of a prompt sees it; nothing is spared.

    Args:
        layer: The layer.
        through: Runs it on all rows.
        grid: Rows and columns of the patches.
        cls_only: Whether only CLS is handed on, so that as much is dropped at random.
        turn: Turns queries or keys of a stream by their places.
    """

    companion_read = True

    def __init__(self, layer, through, grid, cls_only, turn=lambda x: x):
        self.layer, self.through, self.grid = layer, through, grid
        self.cls_only, self.turn = cls_only, turn
        self.rows = slice(0, 1 if cls_only else None)

    def run(self, x):
        """Put a stream through the layer."""
        return self.through(self.layer, x)[0][:, self.rows]

    def meet(self, x, y, heads='all', border='cut'):
        """Let the rows of ``x`` ask ``y``."""
        found = answer(self.layer, x, y, self.grid, heads, border, self.turn)
        return found[:, self.rows]
