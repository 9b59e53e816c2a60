# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""How one encoder layer of mmpretrain's ViT runs with prompts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: What a metric loss can read of a guided layer; see :func:`read_operands`.
OPERANDS = (
    *('patch', 'patch_query', 'patch_key', 'output', 'output_patch'),
    *('patches', 'patches_query', 'patches_key', 'output_patches'),
    *('cls', 'cls_query', 'cls_key', 'prompt_query', 'prompt_key'),
)


def prompted_layer(
    layer: nn.Module,
    tokens: Tensor,
    prompts: Tensor | None = None,
    *,
    num_extra: int = 1,
    cls_only: bool = False,
    keep_prompts: bool = False,
    mask: bool = False,
    temperature: Tensor | None = None,
    guide: tuple[str, ...] = (),
) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
    r"""Run one layer: keys and values from all tokens, the rest for rows that are read.

    :math:`X' = X + \mathrm{proj}(\mathrm{softmax}(Q K^T / (\tau \sqrt d)) V)` and
    :math:`X'' = X' + \mathrm{MLP}(\mathrm{LN}_2 X')` with Q, K, V from
    :math:`\mathrm{LN}_1 X`. A row that nobody reads afterwards needs no query, no
    projection and no MLP. That is exact, since rows meet only in the attention.

    Args:
        layer: mmpretrain's ``TransformerEncoderLayer``.
        tokens: CLS and patches entering the layer, (B, num_extra + N, C).
        prompts: Prompts entering the layer, (1, M, C) if shared, else (B, M, C).
        num_extra: Tokens before the patches: 1 with CLS, else 0.
        cls_only: Whether CLS is the only row of ``tokens`` that is read afterwards.
        keep_prompts: Whether the rows at the prompts are read afterwards.
        mask: Whether prompt queries see patches only.
        temperature: Scalar that divides the attention logits.
        guide: Names of the operands that a metric loss reads, from ``OPERANDS``.

    Returns:
        The rows of ``tokens``, (B, num_extra + N, C) or (B, 1, C); the rows at the
        prompts, (B, M, C), or None; the operands by name.
    """
    attn, size = layer.attn, tokens.shape[1]
    x = tokens
    if keep_prompts:
        x = torch.cat([tokens, prompts.expand(len(tokens), -1, -1)], dim=1)
    normed = layer.ln1(x)
    at_patches = {'output_patch', 'output_patches'}.intersection(guide)
    rows = 1 if cls_only and not at_patches else None
    if rows is None and prompts is not None and not keep_prompts:
        rows = size  # a product of their own, so that backward keeps no second K and V
    query, key, value = project(attn, normed, rows)
    if keep_prompts and mask:
        query, prompt_query = query[:, :, :size], query[:, :, size:]
    elif prompts is not None and not keep_prompts:
        prompt_query, *prompt_kv = project(
            attn, layer.ln1(prompts), None if 'output' in guide else 0
        )
        key, value = (
            torch.cat([old, new.expand(len(old), -1, -1, -1)], dim=2)
            for old, new in zip((key, value), prompt_kv)
        )

    out = attend(attn, query, key, value, temperature)
    at_prompts = out[:, size:]
    if prompts is not None and (mask if keep_prompts else 'output' in guide):
        seen = slice(num_extra, size) if mask else slice(None)
        at_prompts = attend(
            *(attn, prompt_query.expand(len(tokens), -1, -1, -1)),
            *(key[:, :, seen], value[:, :, seen], temperature),
        )
        out = torch.cat([out, at_prompts], dim=1) if keep_prompts else out
    record = read_operands(
        guide, layer, tokens, prompts, normed[:, :size], out, at_prompts, num_extra
    )

    if cls_only:
        x, out = x[:, :1], out[:, :1]
    x = x + attn.out_drop(attn.gamma1(attn.proj_drop(attn.proj(out))))
    x = layer.ffn(layer.ln2(x), identity=x)
    return (x[:, :size], x[:, size:], record) if keep_prompts else (x, None, record)


def project(
    attn: nn.Module, normed: Tensor, num_queries: int | None = None
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Project normed tokens (B, T, C) to queries, keys and values, (B, H, T, C / H).

    With ``num_queries`` only the first rows get a query; with 0 the query is None.
    """

    def linear(x: Tensor, begin: int, parts: int) -> tuple[Tensor, ...]:
        y = qkv_rows(attn, x, begin, parts)
        y = y.reshape(*x.shape[:2], parts, attn.num_heads, attn.head_dims)
        return y.permute(2, 0, 3, 1, 4).unbind(0)

    if num_queries is None:
        return linear(normed, 0, 3)
    query = linear(normed[:, :num_queries], 0, 1)[0] if num_queries else None
    return query, *linear(normed, 1, 2)


def qkv_rows(attn: nn.Module, x: Tensor, begin: int, parts: int) -> Tensor:
    """Output of the fused projection for ``parts`` of query (0), key and value (2).

    Args:
        attn: The attention.
        x: Normed tokens, (..., C).
        begin: The first part.
        parts: How many, P.

    Returns:
        (..., P * C), with tuned biases and the adapter where there are some.
    """
    rows = slice(begin * attn.embed_dims, (begin + parts) * attn.embed_dims)
    bias = qkv_bias(attn)
    y = F.linear(x, attn.qkv.weight[rows], None if bias is None else bias[rows])
    adapter = getattr(attn.qkv, 'adapter', None)
    return y if adapter is None else adapter(x, y, rows)


def attend(
    attn: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    temperature: Tensor | None = None,
) -> Tensor:
    """Attention output before the projection, heads side by side, (B, rows, C)."""
    if temperature is not None:
        query = query / temperature
    drop = attn.attn_drop if attn.training else 0.0
    out = attn.scaled_dot_product_attention(query, key, value, dropout_p=drop)
    return out.transpose(1, 2).flatten(2)


def qkv_bias(attn: nn.Module) -> Tensor | None:
    """The fused bias (3C,), with its tuned parts added where there are some."""
    tuned = getattr(attn, 'tuned_bias', None)
    return attn.qkv.bias if tuned is None else tuned(attn.qkv.bias)


def read_operands(
    names: tuple[str, ...],
    layer: nn.Module,
    tokens: Tensor,
    prompts: Tensor | None,
    normed: Tensor,
    out: Tensor,
    at_prompts: Tensor,
    num_extra: int,
) -> dict[str, Tensor]:
    """Compute the named operands of a guided layer, and no other.

    ``patch`` and ``cls`` are block inputs z, ``*_query`` and ``*_key`` their
    projections, with bias, of LN1(z); all (B, C), patches averaged (the projection is
    linear, so the mean is projected). ``output`` is the attention output at the prompts
    (B, M, C) and ``output_patch`` its mean over patches (B, C), both before the output
    projection. ``patches``, ``patches_query``, ``patches_key`` and ``output_patches``
    are the same without the mean over patches, (B, N, C). ``prompt_query`` and
    ``prompt_key`` are means over the batch, (M, C).
    """

    def linear(x: Tensor, part: int) -> Tensor:
        return qkv_rows(layer.attn, x, part, 1)

    compute = {
        'patch': lambda: tokens[:, num_extra:].mean(1),
        'patch_query': lambda: linear(normed[:, num_extra:].mean(1), 0),
        'patch_key': lambda: linear(normed[:, num_extra:].mean(1), 1),
        'output': lambda: at_prompts,
        'output_patch': lambda: out[:, num_extra : tokens.shape[1]].mean(1),
        'patches': lambda: tokens[:, num_extra:],
        'patches_query': lambda: linear(normed[:, num_extra:], 0),
        'patches_key': lambda: linear(normed[:, num_extra:], 1),
        'output_patches': lambda: out[:, num_extra : tokens.shape[1]],
        'cls': lambda: tokens[:, 0],
        'cls_query': lambda: linear(normed[:, 0], 0),
        'cls_key': lambda: linear(normed[:, 0], 1),
        'prompt_query': lambda: linear(layer.ln1(prompts), 0).mean(0),
        'prompt_key': lambda: linear(layer.ln1(prompts), 1).mean(0),
    }
    return {name: compute[name]() for name in names}
