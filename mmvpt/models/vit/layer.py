# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""How one encoder layer runs with prompts: for the rows that somebody reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .blocks import Attention, Block
from .rotation import Rotation
from .streams import Streams

#: What a metric loss can read of a guided layer; see :func:`read_operands`.
OPERANDS = (
    'patch',
    'patch_query',
    'patch_key',
    'output',
    'output_patch',
    'patches',
    'patches_query',
    'patches_key',
    'output_patches',
    'cls',
    'cls_query',
    'cls_key',
    'prompt_query',
    'prompt_key',
)
_OUTPUTS = frozenset(('output', 'output_patch', 'output_patches'))
_AT_PATCHES = frozenset(('output_patch', 'output_patches'))
_AT_PROMPTS = frozenset(('output', 'prompt_query', 'prompt_key'))


class Reads(NamedTuple):
    """What is read of a layer, and how it meets its prompts.

    Args:
        num_extra: Rows before the patches (E): CLS and registers.
        cls_only: Whether CLS is the only row of the tokens that is read afterwards.
        keep_prompts: Whether the rows at the prompts are read afterwards, too.
        mask: Whether prompt queries see patches only.
        position: Where the layer meets its prompts, see ``POSITIONS`` of the prompts.
        guide: Names of the operands that a metric loss reads, from ``OPERANDS``.
        recompute_mlp: Whether backward computes what it needs of the MLP again.
        rotation: How queries and keys turn, or None.
        grid: Rows and columns of the patches.
        accompany: Takes tokens, companion and a view of the layer, in its place.
        companion_read: Whether the companion is read afterwards.
    """

    num_extra: int = 1
    cls_only: bool = False
    keep_prompts: bool = False
    mask: bool = False
    position: str = 'sequence'
    guide: tuple[str, ...] = ()
    recompute_mlp: bool = False
    rotation: Rotation | None = None
    grid: tuple[int, int] = (0, 0)
    accompany: Callable | None = None
    companion_read: bool = True


PLAIN = Reads()


class PromptedAttention(Attention):
    """Keys and values from all tokens, queries and outputs for rows that are read."""

    def forward(
        self,
        normed: Tensor,
        prompts: Tensor | None = None,
        attended: Tensor | None = None,
        key_values: Tensor | None = None,
        temperature: Tensor | None = None,
        logit_bias: Tensor | None = None,
        beside: Tensor | None = None,
        reads: Reads = PLAIN,
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Return the branch at the rows that are read.

        Args:
            normed: Normed tokens, (B, T, C); with ``reads.keep_prompts`` the normed
                prompts behind them.
            prompts: Normed prompts, (1 or B, M, C), where they are needed apart.
            attended: What :meth:`see` makes of the prompts, if they are keys only.
            key_values: Further keys and values, (1 or B, S, 2C).
            temperature: Divides the logits.
            logit_bias: Added to the logits of tokens and ``attended``.
            beside: Added to the branch, (B, T', C).
            reads: What is read.

        Returns:
            The branch (B, T' + M or T', C); where a metric loss reads outputs, also the
            outputs before the projection, at tokens and at prompts.
        """
        count = prompts.shape[1] if reads.keep_prompts else 0
        size = normed.shape[1] - count
        once = self.meets_tokens(reads, key_values)
        rotation = reads.rotation
        if rotation is not None and count:
            rotation = rotation.inserted(size, count)
        rows = 1 if reads.cls_only and not _AT_PATCHES.intersection(reads.guide) else 0
        given = (attended, key_values, temperature)
        apart = any(x is not None for x in given) and torch.is_grad_enabled()
        if apart and not rows:  # a product of their own: backward keeps less
            rows = normed.shape[1]
        if once:
            query, seen = normed[:, :1], normed
        else:
            query, seen = self._project(normed, rows, rotation)
        more = [x for x in (attended, key_values) if x is not None]
        if logit_bias is not None and key_values is not None:
            logit_bias = F.pad(logit_bias, (0, key_values.shape[1]))
        out = (self.attend_once if once else self.attend)(
            query[:, :size] if reads.mask else query,
            seen,
            temperature,
            logit_bias,
            more,
        )
        at_prompts = out[:, size:]
        if prompts is not None and (
            reads.mask if reads.keep_prompts else 'output' in reads.guide
        ):
            if reads.keep_prompts:
                asking = query[:, size:]
            else:
                asking = self.project(prompts, 0, 1).expand(normed.shape[0], -1, -1)
            visible = seen[:, reads.num_extra : size] if reads.mask else seen
            at_prompts = self.attend(
                asking, visible, temperature, more=() if reads.mask else more
            )
            if reads.keep_prompts:
                out = torch.cat([out, at_prompts], dim=1)
        branch = self.out(out[:, :1] if reads.cls_only else out, beside)
        wanted = _OUTPUTS.intersection(reads.guide)
        return (branch, out, at_prompts) if wanted else branch

    def see(self, normed: Tensor, once: bool) -> Tensor:
        """Return what queries see of normed prompts (1 or B, M, C).

        Keys and values side by side (1 or B, M, 2C); with ``once``, where one query
        meets the tokens themselves, the normed prompts.
        """
        return normed if once else self.project(normed, 1, 2)

    def meets_tokens(self, reads: Reads, key_values: Tensor | None = None) -> bool:
        """Whether one query meets the normed tokens in place of keys and values."""
        if not reads.cls_only or key_values is not None:
            return False
        return self.absorbs and not _OUTPUTS.intersection(reads.guide)

    def _project(
        self, normed: Tensor, rows: int, rotation: Rotation | None
    ) -> tuple[Tensor, Tensor]:
        """Return queries of the first ``rows``, of all if 0; keys and values of all."""
        if rows:
            query, seen = (
                self.project(normed[:, :rows], 0, 1),
                self.project(normed, 1, 2),
            )
        else:
            both = self.project(normed, 0, 3)
            query, seen = both.tensor_split([self.embed_dims], dim=-1)
        if rotation is not None:
            key, value = seen.chunk(2, dim=-1)
            query = self.rotate(query, rotation)
            seen = torch.cat([self.rotate(key, rotation), value], dim=-1)
        return query, seen


class PromptedEncoderLayer(Block):
    r"""One layer: keys and values from all tokens, the rest for rows that are read.

    :math:`X' = X + \mathrm{attn}(\mathrm{LN}_1 X)` and
    :math:`X'' = X' + \mathrm{MLP}(\mathrm{LN}_2 X')`. A row that nobody reads
    afterwards needs no query, no projection and no MLP; where CLS alone is read, its
    query meets the normed tokens themselves. All exact, since rows meet only in the
    attention. The layer, its attention and its norms run as modules, so that hooks,
    recomputation and sharding of them work; arguments are positional and tensors stand
    by themselves, which those ask for.

    Args:
        embed_dims: Channels (C).
        num_heads: Heads.
        feedforward_channels: Inner width of the MLP.
        act: Kind of MLP, see :class:`Block`.
        act_cfg: Config of an activation in its place, as mmpretrain has it.
        norm_cfg: Config of the norms.
        qkv_bias: Whether query, key and value have biases.
        inner_norm: Whether a norm stands before the output projection.
        rotates: Whether queries and keys turn with their place.
        layer_scale_init_value: First value of the scales of both branches; 0 for none.
        attn_drop_rate: Dropout of attention weights.
        drop_rate: Dropout behind linear layers.
        drop_path_rate: Stochastic depth of both branches.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        act: str = 'gelu',
        act_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        qkv_bias: bool = True,
        inner_norm: bool = False,
        rotates: bool = False,
        layer_scale_init_value: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        norm_cfg = norm_cfg or dict(type='LN', eps=1e-6)
        branch = dict(
            layer_scale_init_value=layer_scale_init_value,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
        )
        attention = PromptedAttention(
            embed_dims,
            num_heads,
            qkv_bias=qkv_bias,
            inner_norm=norm_cfg if inner_norm else None,
            attn_drop_rate=attn_drop_rate,
            rotates=rotates,
            **branch,
        )
        super().__init__(
            attention, feedforward_channels, act_cfg or act, norm_cfg, **branch
        )

    def forward(
        self,
        tokens: Tensor,
        prompts: Tensor | None = None,
        attended: Tensor | None = None,
        key_values: Tensor | None = None,
        temperature: Tensor | None = None,
        logit_bias: Tensor | None = None,
        companion: Tensor | None = None,
        reads: Reads = PLAIN,
    ) -> Tensor | tuple[Tensor | None, ...]:
        """Return what the layer writes at the rows that are read.

        Args:
            tokens: CLS, registers and patches entering the layer, (B, E + N, C).
            prompts: Prompts entering it, (1, M, C) if shared, else (B, M, C).
            attended: What :meth:`see` makes of the prompts, if it is known already;
                only without ``reads.keep_prompts``.
            key_values: Keys and values that no token has, (1 or B, S, 2C).
            temperature: Scalar that divides the attention logits.
            logit_bias: Added to the logits of tokens and prompts, (B, 1, 1, E + N + M).
            companion: A second stream, (1 or B, E + N, C).
            reads: What is read, and how prompts are met.

        Returns:
            The rows at the tokens, (B, E + N, C) or (B, 1, C). If more is asked for, a
            tuple: these rows; those at the prompts, (B, M, C), or the companion's, or
            None; the operands of ``reads.guide`` in its order.
        """
        if reads.accompany is not None:
            return reads.accompany(tokens, companion, Streams(self, reads))
        if reads.position != 'sequence' and prompts is not None:
            return self._cross(tokens, prompts, key_values, temperature, reads)
        x, normed_prompts = tokens, None
        if reads.keep_prompts:
            x = torch.cat([tokens, prompts.expand(tokens.shape[0], -1, -1)], dim=1)
        normed = self.ln1(x)
        size = tokens.shape[1]
        if reads.keep_prompts:
            normed_prompts = normed[:, size:]
        elif prompts is not None and (
            attended is None or _AT_PROMPTS.intersection(reads.guide)
        ):
            normed_prompts = self.ln1(prompts)
            if attended is None:
                once = self.attn.meets_tokens(reads, key_values)
                attended = self.attn.see(normed_prompts, once)
        found = run(
            self.attn,
            normed,
            normed_prompts,
            attended,
            key_values,
            temperature,
            logit_bias,
            None,
            reads,
        )
        branch, *outputs = found if isinstance(found, tuple) else (found,)
        operands = read_operands(self, tokens, normed, normed_prompts, outputs, reads)
        if reads.cls_only:
            x = x[:, :1]
        x = self._mlp(x + branch, reads)
        if reads.keep_prompts:
            return (x[:, :size], x[:, size:], *operands)
        return (x, None, *operands) if operands else x

    def see(self, prompts: Tensor, once: bool) -> Tensor:
        """Return what attention sees of prompts, see :meth:`PromptedAttention.see`."""
        return self.attn.see(self.ln1(prompts), once)

    def _mlp(self, x: Tensor, reads: Reads) -> Tensor:
        if reads.recompute_mlp and torch.is_grad_enabled():
            return checkpoint(self.mlp, x, use_reentrant=False)
        return self.mlp(x)

    def _cross(
        self,
        x: Tensor,
        prompts: Tensor,
        key_values: Tensor | None,
        temperature: Tensor | None,
        reads: Reads,
    ) -> Tensor:
        """Run the layer with a cross-attention to the prompts, X', at its place."""
        attn, position = self.attn, reads.position
        rows = 1 if reads.cls_only else x.shape[1]
        if position == 'before':
            x = x + attn.cross(x, prompts)
        beside = attn.cross(x[:, :rows], prompts) if position == 'attention' else None
        normed = self.ln1(x)
        branch = run(
            attn, normed, None, None, key_values, temperature, None, beside, reads
        )
        x = x[:, :rows] + branch
        if position == 'between':
            x = x + attn.cross(x, prompts)
        if position == 'mlp':
            return self.mlp(x, attn.cross(x, prompts))
        x = self._mlp(x, reads)
        return x + attn.cross(x, prompts) if position == 'after' else x


def run(module: nn.Module, first: Tensor, *rest: object) -> Tensor:
    """Call a module; if mmengine recomputes it in backward, keep its gradients.

    mmengine replaces ``forward`` by PyTorch's reentrant checkpoint, after which
    parameters get a gradient only if some argument needs one.
    """
    tensors = [x for x in (first, *rest) if isinstance(x, Tensor)]
    recomputed = 'forward' in vars(module) and torch.is_grad_enabled()
    if recomputed and not any(x.requires_grad for x in tensors):
        first = first.detach().requires_grad_()
    return module(first, *rest)


def read_operands(
    layer: PromptedEncoderLayer,
    tokens: Tensor,
    normed: Tensor,
    prompts: Tensor | None,
    outputs: list[Tensor],
    reads: Reads,
) -> list[Tensor]:
    """Compute the named operands of a guided layer, and no other.

    ``patch`` and ``cls`` are block inputs z, ``*_query`` and ``*_key`` their
    projections, with bias and before they turn, of LN1(z); all (B, C), patches averaged
    (the projection is linear, so the mean is projected). ``output`` is the attention
    output at the prompts (B, M, C) and ``output_patch`` its mean over patches (B, C),
    both before the output projection. ``patches``, ``patches_query``, ``patches_key``
    and ``output_patches`` are the same without the mean over patches, (B, N, C).
    ``prompt_query`` and ``prompt_key`` are means over the batch, (M, C).

    Args:
        layer: The layer.
        tokens: What entered it, (B, E + N, C).
        normed: The same normed, perhaps with prompts behind.
        prompts: Normed prompts, (1 or B, M, C).
        outputs: Attention outputs at tokens and at prompts, if there is a name of them.
        reads: What is read.
    """
    patches = slice(reads.num_extra, tokens.shape[1])

    def linear(x: Tensor, part: int) -> Tensor:
        return layer.attn.project(x, part, 1)

    compute = {
        'patch': lambda: tokens[:, patches].mean(1),
        'patch_query': lambda: linear(normed[:, patches].mean(1), 0),
        'patch_key': lambda: linear(normed[:, patches].mean(1), 1),
        'output': lambda: outputs[1],
        'output_patch': lambda: outputs[0][:, patches].mean(1),
        'patches': lambda: tokens[:, patches],
        'patches_query': lambda: linear(normed[:, patches], 0),
        'patches_key': lambda: linear(normed[:, patches], 1),
        'output_patches': lambda: outputs[0][:, patches],
        'cls': lambda: tokens[:, 0],
        'cls_query': lambda: linear(normed[:, 0], 0),
        'cls_key': lambda: linear(normed[:, 0], 1),
        'prompt_query': lambda: linear(prompts, 0).mean(0),
        'prompt_key': lambda: linear(prompts, 1).mean(0),
    }
    return [compute[name]() for name in reads.guide]
