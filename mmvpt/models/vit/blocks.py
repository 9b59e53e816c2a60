# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The pieces of which the frozen layers of all families are made.

All families have one layout of state keys, to which files are converted; what a family
lacks falls away. C channels, N patches, R registers, h hidden channels of the MLP, p
side of a patch:

===============================================  =====================================
key                                              shape and meaning
===============================================  =====================================
``cls_token``                                    (1, 1, C)
``reg_tokens``                                   (1, R, C), behind CLS, no positions
``pos_embed``                                    (1, 1 + N, C), without CLS (1, N, C)
``patch_embed.projection.{weight,bias}``         (C, 3, p, p), (C,)
``pre_norm.{weight,bias}``                       (C,), before the layers
``layers.i.ln1.*``, ``layers.i.ln2.*``           (C,), before attention and MLP
``layers.i.attn.qkv.{weight,bias}``              (3C, C), (3C,): query, key, value
``layers.i.attn.norm.{weight,bias}``             (C,), before the output projection
``layers.i.attn.proj.{weight,bias}``             (C, C), (C,)
``layers.i.attn.gamma1.weight``                  (C,), LayerScale of the attention
``layers.i.ffn.layers.0.0.{weight,bias}``        (h, C), (h,): plain MLP
``layers.i.ffn.layers.1.{weight,bias}``          (C, h), (C,)
``layers.i.ffn.w12.{weight,bias}``               (2h, C), (2h,): SwiGLU, the gate first
``layers.i.ffn.norm.{weight,bias}``              (h,), within SwiGLU
``layers.i.ffn.w3.{weight,bias}``                (C, h), (C,)
``layers.i.ffn.gamma2.weight``                   (C,), LayerScale of the MLP
``ln1.{weight,bias}``                            (C,), the final norm
``pool.probe``                                   (1, 1, C), query of the attention pool
``pool.{q,kv,proj}.{weight,bias}``               (C, C), (2C, C), (C, C) and biases
``pool.norm.{weight,bias}``                      (C,)
``pool.{fc1,fc2}.{weight,bias}``                 (h, C), (C, h) and biases
===============================================  =====================================

The bias of ``attn.qkv`` always has all three parts, zero where a family has none; with
``qkv_bias=False`` there is no bias at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import build_activation_layer
from mmcv.cnn.bricks.drop import DropPath
from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule
from mmpretrain.models.utils import LayerScale, SwiGLUFFN, build_norm_layer
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.models.adapters.base import alter
from mmvpt.models.precision import LINEAR, Mixed, MixedAttention

from .attention import Quotient, attend, attend_through, join
from .rotation import Rotation

_ACTIVATIONS = {
    'gelu': dict(type='GELU'),
    'gelu_tanh': dict(type='GELU', approximate='tanh'),
    'quick_gelu': dict(type='mmpretrain.QuickGELU'),
}


class Attention(BaseModule):
    r"""What a layer does between tokens, in pieces; none of them knows of prompts.

    :math:`g \odot (W_o\,\mathrm{norm}(\mathrm{softmax}(Q K^T / \sqrt d) V) + b_o)`,
    with Q and K turned where the family has rotary positions.

    Args:
        embed_dims: Channels (C).
        num_heads: Heads (H), of d = C / H channels.
        qkv_bias: Whether query, key and value have biases.
        inner_norm: Config of a norm before the output projection, or None.
        layer_scale_init_value: First value of the scale g of each channel; 0 for none.
        attn_drop_rate: Dropout of attention weights.
        drop_rate: Dropout behind the output projection.
        drop_path_rate: Stochastic depth of the branch.
        rotates: Whether keys turn with their place, see :attr:`absorbs`.
    """

    mixed_by = MixedAttention

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        qkv_bias: bool = True,
        inner_norm: dict | None = None,
        layer_scale_init_value: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        rotates: bool = False,
    ) -> None:
        super().__init__()
        self.embed_dims, self.num_heads = embed_dims, num_heads
        self.head_dims = embed_dims // num_heads
        self.attn_drop, self.rotates = attn_drop_rate, rotates
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=qkv_bias)
        self.norm = nn.Identity()
        if inner_norm is not None:
            self.norm = build_norm_layer(inner_norm, embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(drop_rate)
        self.out_drop = DropPath(drop_path_rate)
        self.gamma1 = _layer_scale(embed_dims, layer_scale_init_value)

    def project(self, normed: Tensor, first: int, parts: int) -> Tensor:
        """Return ``parts`` of query (0), key (1) and value (2), from ``first`` on.

        Tuned biases and adapters act inside. A projection that somebody has replaced or
        listens to runs as a whole.

        Args:
            normed: Normed tokens, (..., C).
            first: The first part.
            parts: How many, P.

        Returns:
            Side by side, (..., P * C).

        Raises:
            UserError: If a replaced projection gives another width.
        """
        rows = slice(first * self.embed_dims, (first + parts) * self.embed_dims)
        if not self.is_plain:
            return self._project_whole(normed)[..., rows]
        bias = self.qkv_bias
        y = F.linear(
            normed, self.qkv.weight[rows], None if bias is None else bias[rows]
        )
        adapter = getattr(self.qkv, 'adapter', None)
        return y if adapter is None else adapter(normed, y, rows)

    def _project_whole(self, normed: Tensor) -> Tensor:
        y = self.qkv(normed)
        if y.shape[-1] != 3 * self.embed_dims:
            raise UserError(
                f'{type(self.qkv).__name__} stands in place of the query, key and '
                f'value projection, but gives {y.shape[-1]} channels; it must give '
                f'{3 * self.embed_dims}, query, key and value side by side.'
            )
        tuned = getattr(self, 'tuned_bias', None)
        return y if tuned is None else y + tuned(y.new_zeros(y.shape[-1]))

    @property
    def qkv_bias(self) -> Tensor | None:
        """The fused bias (3C,), with its tuned parts added where there are some."""
        tuned = getattr(self, 'tuned_bias', None)
        return self.qkv.bias if tuned is None else tuned(self.qkv.bias)

    @property
    def is_plain(self) -> bool:
        """Whether some rows of the projection's weight may be used without the others.

        Not if it is another module than at first, or somebody listens to it.
        """
        qkv = self.qkv
        heard = any(hook is not alter for hook in qkv._forward_hooks.values())
        heard = heard or bool(qkv._forward_pre_hooks or qkv._backward_hooks)
        whole = qkv.__dict__.get('out_features') == 3 * self.embed_dims
        plain = type(qkv) in LINEAR and 'forward' not in vars(qkv)
        return plain and whole and not heard

    @property
    def absorbs(self) -> bool:
        """Whether :meth:`attend_once` may stand for projecting and attending.

        Not where keys turn with their place, weights are dropped (a value bias no
        longer passes unchanged), or the projection is more than a matrix.
        """
        dropped = self.training and self.attn_drop > 0
        changed = hasattr(self.qkv, 'adapter') or not self.is_plain
        return not (self.rotates or dropped or changed)

    def rotate(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        """Turn queries or keys of the first rows, (B, T', C)."""
        return x if rotation is None else rotation(x, self.num_heads)

    def attend(
        self,
        query: Tensor,
        key_value: Tensor,
        temperature: Tensor | None = None,
        logit_bias: Tensor | None = None,
        more: Sequence[Tensor] = (),
    ) -> Tensor:
        """Attention output before the projection, heads side by side, (B, T', C).

        Args:
            query: (B, T', C).
            key_value: Keys and values side by side, (B, T, 2C).
            temperature: Divides the logits.
            logit_bias: Added to the logits, (B, 1, 1, all T).
            more: Further keys and values behind them, (1 or B, T, 2C) each.
        """
        if temperature is not None:
            grad = torch.is_grad_enabled()
            query = Quotient.apply(query, temperature) if grad else query / temperature
        drop = self.attn_drop if self.training else 0.0
        return attend(query, [key_value, *more], self.num_heads, logit_bias, drop)

    def attend_once(
        self,
        normed: Tensor,
        seen: Tensor,
        temperature: Tensor | None = None,
        logit_bias: Tensor | None = None,
        more: Sequence[Tensor] = (),
    ) -> Tensor:
        """Attention output at one row, without keys and values, (B, 1, C).

        See :func:`attend_through`. The key bias adds the same to all logits of a query,
        which softmax forgets; weights sum to 1, so the value bias passes.

        Args:
            normed: The row that has a query, (B, 1, C).
            seen: Normed tokens, (B, T, C).
            temperature: Divides the logits.
            logit_bias: Added to the logits, (B, 1, 1, all T).
            more: Further normed tokens behind them, (1 or B, T, C) each.
        """
        seen = join([seen, *more], normed.shape[0])
        heads = (self.num_heads, self.head_dims)
        query = self.project(normed[:, 0], 0, 1).unflatten(-1, heads)
        if temperature is not None:
            query = query / temperature
        _, key, value = self.qkv.weight.unflatten(0, (3, *heads)).unbind(0)
        out = attend_through(query, key, value, seen, logit_bias)
        bias = self.qkv_bias
        return (out if bias is None else out + bias[2 * self.embed_dims :])[:, None]

    def cross(self, x: Tensor, prompts: Tensor) -> Tensor:
        r"""Attention of all rows to prompts alone, projected and scaled, (B, T', C).

        Neither side is normed or turned. For few prompts the projections move to them:
        per head, logits :math:`(x G^T + g) / \sqrt d` with :math:`G = K W_q`,
        :math:`g = K b_q`, and values :math:`V W_o^T`, (M, C) each.

        Args:
            x: Rows that ask, (B, T', C).
            prompts: What they see, (1 or B, M, C).
        """
        key_value = self.project(prompts, 1, 2)
        (rows, dims), (count, num) = x.shape[1:], prompts.shape[:2]
        # Moving costs each image its share, little where all have the same prompts.
        share = num * dims if count > 1 else 0
        cheap = self.num_heads * num * rows + share < rows * (dims + num)
        plain = isinstance(self.norm, nn.Identity) and is_plain_linear(self.proj)
        plain = plain and self.is_plain and not hasattr(self.qkv, 'adapter')
        if not (cheap and plain):
            out = attend(self.project(x, 0, 1), [key_value], self.num_heads)
            return self.gamma1(self.proj(self.norm(out)))
        heads = (self.num_heads, self.head_dims)
        key, value = key_value.unflatten(-1, (2, *heads)).permute(2, 0, 3, 1, 4)
        weight = self.qkv.weight[:dims].unflatten(0, heads)
        moved = (key @ weight).flatten(1, 2)  # (1 or B, H * M, C)
        logits = x @ moved.mT
        if self.qkv.bias is not None:
            bias = self.qkv_bias[:dims].view(1, self.num_heads, self.head_dims, 1)
            logits = logits + (key @ bias).flatten(1).unsqueeze(1)
        logits = logits / self.head_dims**0.5
        weights = logits.unflatten(-1, (self.num_heads, num)).softmax(-1).flatten(2)
        out = self.proj.weight.unflatten(1, heads).permute(1, 2, 0)  # (H, d, C)
        y = weights @ (value @ out).flatten(1, 2)
        return self.gamma1(y if self.proj.bias is None else y + self.proj.bias)

    def out(self, attended: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return the branch for the residual stream, (B, T', C).

        Args:
            attended: What :meth:`attend` returned.
            beside: Added before stochastic depth, (B, T', C).
        """
        y = self.gamma1(self.proj_drop(self.proj(self.norm(attended))))
        return self.out_drop(y if beside is None else y + beside)


class Block(BaseModule):
    """The pieces of one frozen layer: two norms, attention and MLP.

    Args:
        attention: The attention, see :class:`Attention`.
        feedforward_channels: Inner width of the MLP (h).
        act: Kind of MLP, one of ``mmvpt.weights.families.ACTIVATIONS``; or the config
            of an activation.
        norm_cfg: Config of the norms.
        layer_scale_init_value: First value of the MLP's scale; 0 for none.
        drop_rate: Dropout within a plain MLP.
        drop_path_rate: Stochastic depth of the MLP.
    """

    def __init__(
        self,
        attention: Attention,
        feedforward_channels: int,
        act: str | dict,
        norm_cfg: dict,
        layer_scale_init_value: float = 0.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        dims = self.embed_dims = attention.embed_dims
        self.ln1 = build_norm_layer(norm_cfg, dims)
        self.attn = attention
        self.ln2 = build_norm_layer(norm_cfg, dims)
        options: dict[str, Any] = dict(
            embed_dims=dims,
            feedforward_channels=feedforward_channels,
            dropout_layer=dict(type='DropPath', drop_prob=drop_path_rate),
        )
        if isinstance(act, str) and act.startswith('swiglu'):
            inner = norm_cfg if act == 'swiglu_norm' else None
            self.ffn = SwiGLUFFN(norm_cfg=inner, **options)
        else:
            act_cfg = _ACTIVATIONS[act] if isinstance(act, str) else act
            self.ffn = FFN(act_cfg=act_cfg, ffn_drop=drop_rate, **options)
        self.ffn.gamma2 = _layer_scale(dims, layer_scale_init_value)

    def mlp(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """The second half of the layer with its residual, (B, T', C).

        Args:
            x: Rows behind the attention, (B, T', C).
            beside: Added to the normed rows, (B, T', C).
        """
        normed = self.ln2(x)
        return self.ffn(normed if beside is None else normed + beside, x)

    def modules_by_role(self) -> dict[str, list[nn.Module]]:
        """Return the modules that adapters change, in the order in which they run.

        ``qkv`` and ``proj`` one each, ``ffn`` the linear layers of the MLP, ``norms``
        all norms.
        """
        norms = (self.ln1, self.attn.norm, self.ln2, getattr(self.ffn, 'norm', None))
        return dict(
            qkv=[self.attn.qkv],
            proj=[self.attn.proj],
            ffn=[m for m in self.ffn.modules() if isinstance(m, nn.Linear)],
            norms=[m for m in norms if m is not None and list(m.parameters())],
        )

    def init_weights(self) -> None:
        """Initialise linear layers of the MLP as ViT does."""
        super().init_weights()
        for module in self.modules_by_role()['ffn']:
            nn.init.xavier_uniform_(module.weight)
            nn.init.normal_(module.bias, std=1e-6)


class AttentionPool(BaseModule):
    r"""One vector of an image: a learned query asks CLS, if there is one, and patches.

    :math:`a = W_o\,\mathrm{softmax}((W_q z + b_q) K^T / \sqrt d) V + b_o` with the
    query z and keys and values of the rows; then an MLP,
    :math:`a + W_2\,\mathrm{act}(W_1 \mathrm{LN}(a) + b_1) + b_2`. The query is the same
    for all images, so keys and values are never computed, see :func:`attend_through`.

    Args:
        embed_dims: Channels (C).
        num_heads: Heads.
        feedforward_channels: Inner width of the MLP (h).
        act: Activation, see :class:`Block`.
        norm_cfg: Config of the norm.
    """

    mixed_by = Mixed

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        act: str,
        norm_cfg: dict,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.probe = nn.Parameter(torch.randn(1, 1, embed_dims) * embed_dims**-0.5)
        self.q = nn.Linear(embed_dims, embed_dims)
        self.kv = nn.Linear(embed_dims, 2 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.norm = build_norm_layer(norm_cfg, embed_dims)
        self.fc1 = nn.Linear(embed_dims, feedforward_channels)
        self.act = build_activation_layer(_ACTIVATIONS[act])
        self.fc2 = nn.Linear(feedforward_channels, embed_dims)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the vector of each image, (B, C), of normed rows (B, [1 +] N, C)."""
        heads = (self.num_heads, -1)
        query = self.q(self.probe)[:, 0].unflatten(-1, heads)
        query = query.expand(rows.shape[0], -1, -1)
        key, value = self.kv.weight.unflatten(0, (2, *heads)).unbind(0)
        out = attend_through(query, key, value, rows)
        a = self.proj(out + self.kv.bias.chunk(2)[1])
        return a + self.fc2(self.act(self.fc1(self.norm(a))))


def is_plain_linear(module: nn.Module) -> bool:
    """Whether a module is its weight and bias and nothing else: no hook, no wrapper."""
    heard = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
    return type(module) in LINEAR and not heard and 'forward' not in vars(module)


def _layer_scale(dims: int, value: float) -> nn.Module:
    return LayerScale(dims, layer_scale_init_value=value) if value else nn.Identity()
