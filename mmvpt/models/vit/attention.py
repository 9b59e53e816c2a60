# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Attention of frozen layers, and what it keeps for backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmvpt.models.precision import autocast_dtype

# So many weights backward computes at a time, 2 MiB in float32.
_WEIGHTS_AT_ONCE = 2**19


def attend(
    query: Tensor,
    key_values: Sequence[Tensor],
    num_heads: int,
    logit_bias: Tensor | None = None,
    drop_rate: float = 0.0,
) -> Tensor:
    """Attention of heads that lie side by side, (B, T', C).

    Args:
        query: (B, T', C).
        key_values: Keys and values side by side, (1 or B, T_k, 2C) each; all are seen.
        num_heads: Heads (H).
        logit_bias: Added to the logits, (B, 1, 1, all T_k).
        drop_rate: Dropout of the weights.
    """
    if logit_bias is None and not drop_rate and is_sliced(query, key_values):
        return SlicedAttention.apply(query, num_heads, *key_values)
    options = dict(attn_mask=logit_bias, dropout_p=drop_rate)
    return _fused(query, key_values, num_heads, **options)


def join(parts: Sequence[Tensor], count: int) -> Tensor:
    """Put tokens of each image behind each other: (1 or B, T_k, C) to (B, T, C)."""
    parts = [part.expand(count, -1, -1) for part in parts]
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def _fused(
    query: Tensor, key_values: Sequence[Tensor], num_heads: int, **options: Any
) -> Tensor:
    both = _heads(join(key_values, query.shape[0]), 2, num_heads)
    key, value = both.unbind()  # whose backward is one copy, where two indices add
    query = _heads(query, 1, num_heads).squeeze(0)
    out = F.scaled_dot_product_attention(query, key, value, **options)
    return out.transpose(1, 2).flatten(2)


def _heads(x: Tensor, parts: int, num_heads: int) -> Tensor:
    """Look at (B, T, parts * C) as (parts, B, H, T, C / H)."""
    return x.unflatten(-1, (parts, num_heads, -1)).permute(2, 0, 3, 1, 4)


def is_sliced(query: Tensor, key_values: Sequence[Tensor]) -> bool:
    """Whether :class:`SlicedAttention` serves: training on a CPU in full precision."""
    tensors = (query, *key_values)
    if not torch.is_grad_enabled() or not any(x.requires_grad for x in tensors):
        return False
    if query.device.type != 'cpu' or autocast_dtype('cpu'):
        return False
    full = all(x.dtype in (torch.float32, torch.float64) for x in tensors)
    # One row keeps little, and a compiler has graphs of its own.
    return full and query.shape[1] > 1 and not torch.compiler.is_compiling()


class SlicedAttention(torch.autograd.Function):
    r"""Attention that keeps queries, keys and values for backward and nothing else.

    PyTorch's fused attention keeps its output besides, and keys and values of shared
    prompts once for every image. Backward has the weights to compute again in any case;
    here it does so for some images or heads at a time, which stay in the cache:
    :math:`P = \mathrm{softmax}(QK^T / \sqrt d)`, :math:`dV = P^T dO`,
    :math:`dP = dO V^T`, :math:`dS = P \odot (dP - (P \odot dP) 1 1^T)`,
    :math:`dQ = dS K / \sqrt d` and :math:`dK = dS^T Q / \sqrt d`.
    """

    @staticmethod
    def forward(query: Tensor, num_heads: int, *key_values: Tensor) -> Tensor:
        """Attend, see :func:`attend`."""
        return _fused(query, key_values, num_heads)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        """Keep the operands."""
        query, ctx.num_heads, *key_values = inputs
        ctx.save_for_backward(query, *key_values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of queries and of all keys and values."""
        query, *key_values = ctx.saved_tensors
        count, num_heads = query.shape[0], ctx.num_heads
        size = query.shape[1] * sum(x.shape[1] for x in key_values)
        heads = min(num_heads, max(1, _WEIGHTS_AT_ONCE // size))
        images = max(1, _WEIGHTS_AT_ONCE // (size * num_heads))
        grads = [torch.zeros_like(x) for x in (query, *key_values)]
        widths = [1, 1, *[2] * len(key_values), 1, *[2] * len(key_values)]
        views = [
            _heads(x, width, num_heads)
            for x, width in zip((grad, query, *key_values, *grads), widths)
        ]
        for image in range(0, count, images):
            for head in range(0, num_heads, heads):
                cut = slice(image, image + images), slice(head, head + heads)
                _add_gradients(*(_cut(view, *cut) for view in views))
        return grads[0], None, *grads[1:]


def _cut(view: Tensor, images: slice, heads: slice) -> Tensor:
    """Return some heads of some images; what images share belongs to all of them."""
    return view[:, images if view.shape[1] > 1 else slice(None), heads]


def _add_gradients(grad: Tensor, query: Tensor, *others: Tensor) -> None:
    """Add the gradients of some images and heads, see :class:`SlicedAttention`.

    Args:
        grad: That of the output, (1, b, h, T', d).
        query: (1, b, h, T', d).
        *others: Keys and values, (2, 1 or b, h, T_k, d) each; then what the gradients
            of the query and of each of these are added to.
    """
    half = len(others) // 2
    key_values, (of_query, *of_key_values) = others[:half], others[half:]
    count = query.shape[1]
    key, value = torch.cat([x.expand(-1, count, -1, -1, -1) for x in key_values], dim=3)
    scale = query.shape[-1] ** -0.5
    query, grad = query[0] * scale, grad[0]
    weights = (query @ key.mT).softmax(-1)
    of_logits = (grad @ value.mT).mul_(weights)
    of_logits.addcmul_(weights, of_logits.sum(-1, keepdim=True), value=-1)
    of_query[0] += (of_logits @ key).mul_(scale)
    sizes = [x.shape[3] for x in key_values]
    for part, found in enumerate((of_logits.mT @ query, weights.mT @ grad)):
        for target, rows in zip(of_key_values, found.split(sizes, dim=2)):
            shared = target.shape[1] < count
            target[part] += rows.sum(0, keepdim=True) if shared else rows


def attend_through(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seen: Tensor,
    logit_bias: Tensor | None = None,
) -> Tensor:
    r"""Attention of one query a head, moved to the tokens' channels, (B, C).

    :math:`q_h \cdot W^K_h x_t = ({W^K_h}^T q_h) \cdot x_t` and
    :math:`\sum_t a_{ht} W^V_h x_t = W^V_h \sum_t a_{ht} x_t`, so the H queries move
    instead of T tokens to keys and values. Exact without the biases, which the caller
    deals with.

    Args:
        query: (B, H, d).
        key: Weights of the keys, (H, d, C).
        value: Weights of the values, (H, d, C).
        seen: Tokens, (B, T, C).
        logit_bias: Added to the logits, (B, 1, 1, T).
    """
    # The attention divides by the root of the C channels it sees, not of a head's.
    scale = (seen.shape[-1] / query.shape[-1]) ** 0.5
    query = torch.einsum('bhd,hdc->bhc', query, key) * scale
    out = F.scaled_dot_product_attention(
        query[:, None], seen[:, None], seen[:, None], attn_mask=logit_bias
    )
    return torch.einsum('bhc,hdc->bhd', out[:, 0], value).flatten(1)


class Quotient(torch.autograd.Function):
    """``query / temperature``; keeps the quotient, which the attention keeps anyway."""

    @staticmethod
    def forward(ctx, query: Tensor, temperature: Tensor) -> Tensor:
        """Divide."""
        quotient = query / temperature
        ctx.save_for_backward(quotient, temperature)
        return quotient

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of both."""
        quotient, temperature = ctx.saved_tensors
        total = (grad * quotient).sum(dtype=temperature.dtype)
        return grad / temperature, -total.view_as(temperature) / temperature
