# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""How one encoder layer of mmpretrain's ViT runs with prompts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

#: What a metric loss can read of a guided layer; see :func:`read_operands`.
OPERANDS = (
    *('patch', 'patch_query', 'patch_key', 'output', 'output_patch'),
    *('patches', 'patches_query', 'patches_key', 'output_patches'),
    *('cls', 'cls_query', 'cls_key', 'prompt_query', 'prompt_key'),
)
_AT_PATCHES = frozenset(('output_patch', 'output_patches'))


def prompted_layer(
    layer: nn.Module,
    tokens: Tensor,
    prompts: Tensor | None = None,
    attended: Tensor | None = None,
    *,
    num_extra: int = 1,
    cls_only: bool = False,
    keep_prompts: bool = False,
    mask: bool = False,
    temperature: Tensor | None = None,
    logit_bias: Tensor | None = None,
    guide: tuple[str, ...] = (),
    recompute_mlp: bool = False,
) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
    r"""Run one layer: keys and values from all tokens, the rest for rows that are read.

    :math:`X' = X + \mathrm{proj}(\mathrm{softmax}(Q K^T / (\tau \sqrt d)) V)` and
    :math:`X'' = X' + \mathrm{MLP}(\mathrm{LN}_2 X')` with Q, K, V from
    :math:`\mathrm{LN}_1 X`. A row that nobody reads afterwards needs no query, no
    projection and no MLP; where CLS alone is read, its query meets the normed tokens
    themselves (:func:`attend_once`). All exact, since rows meet only in the attention.

    Args:
        layer: mmpretrain's ``TransformerEncoderLayer``.
        tokens: CLS and patches entering the layer, (B, num_extra + N, C).
        prompts: Prompts entering the layer, (1, M, C) if shared, else (B, M, C).
        attended: What :func:`attend_to` makes of the prompts, if it is known already;
            only without ``keep_prompts``.
        num_extra: Tokens before the patches: 1 with CLS, else 0.
        cls_only: Whether CLS is the only row of ``tokens`` that is read afterwards.
        keep_prompts: Whether the rows at the prompts are read afterwards.
        mask: Whether prompt queries see patches only.
        temperature: Scalar that divides the attention logits.
        logit_bias: Added to the logits of ``tokens``, (B, 1, 1, num_extra + N + M).
        guide: Names of the operands that a metric loss reads, from ``OPERANDS``.
        recompute_mlp: Whether backward computes what it needs of the MLP again.

    Returns:
        The rows of ``tokens``, (B, num_extra + N, C) or (B, 1, C); the rows at the
        prompts, (B, M, C), or None; the operands by name.
    """
    attn, size = layer.attn, tokens.shape[1]
    once = meets_tokens(attn, cls_only, guide)
    x = tokens
    if keep_prompts:
        x = torch.cat([tokens, prompts.expand(tokens.shape[0], -1, -1)], dim=1)
    elif prompts is not None and attended is None:
        attended = attend_to(layer, prompts, once)
    normed = layer.ln1(x)
    rows = 1 if cls_only and not _AT_PATCHES.intersection(guide) else None
    apart = attended is not None or temperature is not None
    if rows is None and apart and torch.is_grad_enabled():
        rows = normed.shape[1]  # a product of their own, so that backward keeps less
    query, seen = (normed[:, :1], normed) if once else project(attn, normed, rows)
    if attended is not None:
        seen = torch.cat([seen, attended.expand(tokens.shape[0], -1, -1)], dim=1)
    out = (attend_once if once else attend)(
        attn, query[:, :size] if mask else query, seen, temperature, logit_bias
    )
    at_prompts = out[:, size:]
    if prompts is not None and (mask if keep_prompts else 'output' in guide):
        at_prompts = attend_at_prompts(
            *(layer, prompts, query[:, size:] if keep_prompts else None),
            *(seen[:, num_extra:size] if mask else seen, temperature),
        )
        out = torch.cat([out, at_prompts], dim=1) if keep_prompts else out
    record = read_operands(
        guide, layer, tokens, prompts, normed[:, :size], out, at_prompts, num_extra
    )

    if cls_only:
        x, out = x[:, :1], out[:, :1]
    x = x + attn.out_drop(attn.gamma1(attn.proj_drop(attn.proj(out))))
    again = recompute_mlp and torch.is_grad_enabled()
    x = checkpoint(mlp, layer, x, use_reentrant=False) if again else mlp(layer, x)
    return (x[:, :size], x[:, size:], record) if keep_prompts else (x, None, record)


def mlp(layer: nn.Module, x: Tensor) -> Tensor:
    """The second half of a layer with its residual, (B, T, C)."""
    return layer.ffn(layer.ln2(x), identity=x)


def attend_to(layer: nn.Module, prompts: Tensor, once: bool) -> Tensor:
    """Return what the attention of ``layer`` sees of prompts (1 or B, M, C).

    Keys and values side by side (1 or B, M, 2C); with ``once``, where one query meets
    the tokens themselves, the normed prompts (1 or B, M, C).
    """
    normed = layer.ln1(prompts)
    return normed if once else qkv_rows(layer.attn, normed, 1, 2)


def attend_at_prompts(
    layer: nn.Module,
    prompts: Tensor,
    query: Tensor | None,
    seen: Tensor,
    temperature: Tensor | None = None,
) -> Tensor:
    """Attention output at prompts by themselves, (B, M, C).

    Args:
        layer: The layer.
        prompts: Prompts entering it, (1 or B, M, C).
        query: Their queries, (B, M, C), if the layer has computed them.
        seen: Keys and values that they see, (B, T, 2C).
        temperature: Divides the logits.
    """
    if query is None:
        query = qkv_rows(layer.attn, layer.ln1(prompts), 0, 1)
        query = query.expand(seen.shape[0], -1, -1)
    return attend(layer.attn, query, seen, temperature)


def meets_tokens(attn: nn.Module, cls_only: bool, guide: tuple[str, ...] = ()) -> bool:
    """Whether :func:`attend_once` may stand for :func:`attend`.

    Not where something else reads attention outputs, weights are dropped (a value bias
    no longer passes unchanged), or an adapter changes the projection.
    """
    dropped = attn.training and attn.attn_drop > 0
    reads = {'output', *_AT_PATCHES}.intersection(guide)
    return cls_only and not (dropped or reads or hasattr(attn.qkv, 'adapter'))


def project(
    attn: nn.Module, normed: Tensor, num_queries: int | None = None
) -> tuple[Tensor, Tensor]:
    """Project normed tokens (B, T, C) to queries and to keys and values.

    Returns:
        Queries (B, T, C), or (B, num_queries, C) of the first rows from a product of
        their own; keys and values side by side, (B, T, 2C).
    """
    if num_queries is None:
        both = qkv_rows(attn, normed, 0, 3)
        return both[..., : attn.embed_dims], both[..., attn.embed_dims :]
    return qkv_rows(attn, normed[:, :num_queries], 0, 1), qkv_rows(attn, normed, 1, 2)


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
    key_value: Tensor,
    temperature: Tensor | None = None,
    logit_bias: Tensor | None = None,
) -> Tensor:
    """Attention output before the projection, heads side by side, (B, rows, C).

    Args:
        attn: The attention.
        query: (B, rows, C).
        key_value: Keys and values side by side, (B, T, 2C).
        temperature: Divides the logits.
        logit_bias: Added to the logits, (B, 1, 1, T).
    """
    if temperature is not None:
        grad = torch.is_grad_enabled()
        query = _Quotient.apply(query, temperature) if grad else query / temperature
    heads = (attn.num_heads, attn.head_dims)
    query = query.unflatten(-1, heads).transpose(1, 2)
    key, value = key_value.unflatten(-1, (2, *heads)).permute(2, 0, 3, 1, 4).unbind(0)
    drop = attn.attn_drop if attn.training else 0.0
    out = attn.scaled_dot_product_attention(
        query, key, value, attn_mask=logit_bias, dropout_p=drop
    )
    return out.transpose(1, 2).flatten(2)


class _Quotient(torch.autograd.Function):
    """``query / temperature``; keeps the quotient, which the attention keeps anyway."""

    @staticmethod
    def forward(ctx, query: Tensor, temperature: Tensor) -> Tensor:
        quotient = query / temperature
        ctx.save_for_backward(quotient, temperature)
        return quotient

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        quotient, temperature = ctx.saved_tensors
        total = (grad * quotient).sum(dtype=temperature.dtype)
        return grad / temperature, -total.view_as(temperature) / temperature


def attend_once(
    attn: nn.Module,
    normed: Tensor,
    seen: Tensor,
    temperature: Tensor | None = None,
    logit_bias: Tensor | None = None,
) -> Tensor:
    r"""Attention output at one row, without keys and values, (B, 1, C).

    :math:`q_h \cdot W^K_h x_t = ({W^K_h}^T q_h) \cdot x_t` and
    :math:`\sum_t a_{ht} W^V_h x_t = W^V_h \sum_t a_{ht} x_t`, so the H queries move
    to the tokens' channels instead of T tokens to keys and values. The key bias adds
    the same to all logits of a query, which softmax forgets; weights sum to 1, so the
    value bias passes.

    Args:
        attn: The attention.
        normed: The row that has a query, (B, 1, C).
        seen: Normed tokens, (B, T, C).
        temperature: Divides the logits.
        logit_bias: Added to the logits, (B, 1, 1, T).
    """
    heads, dims = (attn.num_heads, attn.head_dims), attn.embed_dims
    query = qkv_rows(attn, normed[:, 0], 0, 1).unflatten(-1, heads)
    if temperature is not None:
        query = query / temperature
    _, key, value = attn.qkv.weight.unflatten(0, (3, *heads)).unbind(0)
    # The attention divides by the root of the C channels it sees, not of a head's.
    query = torch.einsum('bhd,hdc->bhc', query, key) * (dims / attn.head_dims) ** 0.5
    out = attn.scaled_dot_product_attention(
        query[:, None], seen[:, None], seen[:, None], attn_mask=logit_bias
    )
    out = torch.einsum('bhc,hdc->bhd', out[:, 0], value).flatten(1)
    bias = qkv_bias(attn)
    return (out if bias is None else out + bias[2 * dims :])[:, None]


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
