# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""E^2VPT: prompts beside keys and values, and pruning (Han et al., ICCV 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmvpt.errors import UserError, one_of
from mmvpt.registry import PROMPTS

from .base import positive
from .depth import DepthPrompt, chosen_layers

#: How extra keys and values start, by the width of what is filled and of its heads.
_INITS = ('kaiming', 'normal', 'uniform')


@PROMPTS.register_module()
class KeyValuePrompt(DepthPrompt):
    r"""Learned tokens, and learned rows beside the keys and values of every attention.

    Tokens of layer i enter as :math:`Z_i[m, c] = \mathrm{dropout}(P_i)[m, c]\,
    \zeta[m, s(c)]\,\rho[m]` with masks that all layers share; s(c) is the segment of
    channel c. Inside the attention of layer i, for head h,

    .. math::
        K' = [E_i^K[h]; K], \quad V' = [E_i^V[h]; V], \quad
        \mathrm{softmax}(Q K'^T / \sqrt d) V'

    where :math:`E^K = E^V` by default. These rows have no norm, projection, bias,
    position or query. Masks train along until :meth:`prune` sets and freezes them.

    Parameters: ``tokens`` (L, M, C), or (M, C) if shallow; ``key_values``, or ``keys``
    and ``values``, (layers, S, C), channel h d + j; ``token_mask`` :math:`\rho` (M,);
    ``segment_mask`` :math:`\zeta` (M, R). The masks are buffers once pruned.

    Source: `E^2VPT <https://arxiv.org/abs/2307.13770>`_ and its `code
    <https://github.com/ChengHan111/E2VPT>`_, which departs from the paper in what
    ``segments`` says.

    Args:
        num_tokens: Prompts of each layer (M).
        num_key_values: Extra rows of keys and values of each layer (S).
        shared_key_values: Whether one tensor serves as both.
        depth: ``deep``: fresh tokens at every layer; ``shallow``: tokens enter layer 0
            and live on.
        key_value_layers: Layers with extra keys and values, ascending; all if None.
        num_segments: Segments of a token that can be pruned (R), None for no segment
            mask.
        segments: ``contiguous`` (the paper, and the default): segment s is the channels
            from s C / R on; ``strided`` (the release): channels s, s + R, s + 2R, ...
        token_mask: Whether there is a token mask.
        drop_rate: Dropout on the tokens, drawn for each image and layer.
        key_value_init: ``kaiming``: :math:`U(-b, b)`, :math:`b = \sqrt{6 / (S d)}`;
            ``normal``: truncated, of deviation 0.02; ``uniform``:
            :math:`b = \sqrt{6 / (3 p^2 + 16)}`.
        pruned: Indices of pruned ``tokens`` (a list) and ``segments`` (a list for each
            token), as ``tools/prune.py`` writes them, for a run that trains what is
            left; None for a run whose masks train.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: For a count, rate, layer, choice or index that is not allowed.
    """

    def __init__(
        self,
        num_tokens: int,
        num_key_values: int,
        shared_key_values: bool = True,
        depth: str = 'deep',
        key_value_layers: Sequence[int] | None = None,
        num_segments: int | None = 16,
        segments: str | None = None,
        token_mask: bool = True,
        drop_rate: float = 0.1,
        key_value_init: str = 'kaiming',
        pruned: dict | None = None,
        **host,
    ) -> None:
        super().__init__(num_tokens, depth, drop_rate, **host)
        positive(num_key_values=num_key_values)
        one_of('key_value_init', key_value_init, _INITS)
        layers = chosen_layers('key_value_layers', key_value_layers, self.num_layers)
        self.num_key_values = num_key_values
        self._rows = {layer: row for row, layer in enumerate(layers)}
        self.segments = segments or 'contiguous'
        self._check_segments(num_segments, segments)
        self.tokens = self.learned_tokens()
        for name in ('key_values',) if shared_key_values else ('keys', 'values'):
            extra = torch.empty(len(layers), num_key_values, self.embed_dims)
            setattr(self, name, nn.Parameter(self._fill(extra, key_value_init)))
        self.register_parameter(
            'token_mask', nn.Parameter(torch.ones(num_tokens)) if token_mask else None
        )
        ones = torch.ones(num_tokens, num_segments or 1)
        self.register_parameter(
            'segment_mask', nn.Parameter(ones) if num_segments else None
        )
        if pruned is not None:
            self._prune_indices(pruned)

    def _check_segments(self, num_segments: int | None, segments: str | None) -> None:
        if num_segments is None:
            if segments is not None:
                raise UserError(
                    f'segments={segments!r} says how channels are divided, but '
                    'num_segments is None: give num_segments too, or neither.'
                )
            return
        positive(num_segments=num_segments)
        one_of('segments', self.segments, ('contiguous', 'strided'))
        if self.embed_dims % num_segments:
            raise UserError(
                f'num_segments must divide the {self.embed_dims} channels of the ViT, '
                f'got {num_segments}.'
            )

    def _fill(self, extra: Tensor, init: str) -> Tensor:
        """Initialise extra keys or values (layers, S, C)."""
        if init == 'normal':
            return nn.init.trunc_normal_(extra, std=0.02)
        if init == 'kaiming':  # the fan of a (H, S, d) tensor
            fan = self.num_key_values * self.embed_dims // self.num_heads
        else:
            fan = 3 * self.patch_size**2 + 16
        bound = math.sqrt(6 / fan)
        return nn.init.uniform_(extra, -bound, bound)

    @property
    def last_layer(self) -> int:
        """The last layer of all; if shallow, the last with extra keys and values."""
        return self.num_layers - 1 if self.depth == 'deep' else max(self._rows)

    def rows(self, i: int, batch_size: int) -> Tensor:
        """Return the masked tokens of layer ``i``, (1, M, C), or (B, M, C)."""
        prompts = super().rows(i, batch_size)
        if self.segment_mask is not None:
            width = self.embed_dims // self.segment_mask.shape[1]
            if self.segments == 'strided':
                prompts = prompts * self.segment_mask.repeat(1, width)
            else:
                prompts = prompts * self.segment_mask.repeat_interleave(width, dim=1)
        if self.token_mask is not None:
            prompts = prompts * self.token_mask[:, None]
        return prompts

    def extra_key_values(self, i: int) -> Tensor | None:
        """Return the extra keys and values of layer ``i``, (1, S, 2C), or None."""
        if i not in self._rows:
            return None
        shared = getattr(self, 'key_values', None)
        keys, values = (self.keys, self.values) if shared is None else (shared, shared)
        row = self._rows[i]
        return torch.cat([keys[row], values[row]], dim=-1).unsqueeze(0)

    def prune(
        self,
        token_scores: Tensor | None,
        segment_scores: Tensor | None,
        num_tokens: int,
        num_segments: int,
    ) -> None:
        """Set both masks to 1, to 0 at the lowest scores, and freeze them.

        Of equal scores the lower index goes first. Tokens keep their values; a run that
        trains what is left starts from a fresh model, see ``pruned``. A mask that does
        not exist takes no scores and a count of 0.

        Args:
            token_scores: (M,).
            segment_scores: (M, R).
            num_tokens: How many tokens go.
            num_segments: How many segments of every token go.

        Raises:
            UserError: If scores or counts do not fit the masks.
        """
        wanted = {
            'token': (self.token_mask, token_scores, num_tokens),
            'segment': (self.segment_mask, segment_scores, num_segments),
        }
        kept = {kind: _keep(kind, *values) for kind, values in wanted.items()}
        for kind, mask in kept.items():
            if mask is not None:
                self._freeze(f'{kind}_mask', mask)

    def _prune_indices(self, pruned: dict) -> None:
        """Freeze the masks at 0 for the given indices, at 1 elsewhere."""
        rows = {
            'token_mask': [pruned.get('tokens', ())],
            'segment_mask': pruned.get('segments', ()),
        }
        for name, indices in rows.items():
            mask = getattr(self, name)
            if mask is None and not any(indices):
                continue
            count, size = (
                (0, 0) if mask is None else mask.view(-1, mask.shape[-1]).shape
            )
            fits = len(indices) in (0, count) and pruned.keys() <= {
                'tokens',
                'segments',
            }
            if not fits or not all(0 <= j < size for row in indices for j in row):
                raise UserError(
                    f'pruned={dict(pruned)} does not fit: allowed are tokens, a list '
                    f'of indices below num_tokens={self.num_tokens}, and segments, '
                    'such a list below num_segments for each token; nothing is pruned '
                    'without token_mask, or num_segments.'
                )
            kept = torch.ones(count, size)
            for row, index in zip(kept, indices):
                row[list(index)] = 0
            self._freeze(name, kept.view_as(mask))

    def _freeze(self, name: str, mask: Tensor) -> None:
        """Let ``mask``, a buffer, stand in place of the learned one."""
        delattr(self, name)
        self.register_buffer(name, mask)


def _keep(
    kind: str, mask: Tensor | None, scores: Tensor | None, count: int
) -> Tensor | None:
    """Return a mask that is 0 at the ``count`` lowest scores of every row, else 1."""
    if mask is None:
        if scores is None and count == 0:
            return None
        raise UserError(
            f'prune got {kind} scores or a count of {count}, but this prompt has no '
            f'{kind}_mask: build it with one, or give None and 0.'
        )
    most = mask.shape[-1] - 1
    if scores is None or scores.shape != mask.shape or not scores.isfinite().all():
        raise UserError(
            f'{kind}_scores must be finite numbers of shape {tuple(mask.shape)}, got '
            f'{scores}.'
        )
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= most:
        raise UserError(
            f'prune can take 0 to {most} {kind}s'
            + (' of every token' if kind == 'segment' else '')
            + f', got {count!r}.'
        )
    lowest = scores.sort(dim=-1, stable=True).indices[..., :count]
    return torch.ones_like(mask, requires_grad=False).scatter(-1, lowest, 0.0)


def prune_counts(
    total: int, minimum: int, percents: Sequence[int] = tuple(range(10, 100, 10))
) -> tuple[int, ...]:
    """Return how many of ``total`` are pruned in the runs that are compared.

    The whole part of each percentage in order; the first that would leave fewer than
    ``minimum`` becomes ``total - minimum`` and ends the list.

    Args:
        total: Tokens, or segments of a token.
        minimum: How many are kept at least.
        percents: Percentages, ascending.

    Returns:
        Distinct counts, ascending.

    Raises:
        UserError: If ``minimum`` is not between 1 and ``total``.
    """
    positive(total=total, minimum=minimum)
    if minimum > total:
        raise UserError(f'of {total}, at most {total} can be kept, got {minimum}.')
    counts = []
    for percent in percents:
        counts.append(min(int(total * percent / 100), total - minimum))
        if counts[-1] == total - minimum and int(total * percent / 100) > counts[-1]:
            break
    return tuple(sorted(set(counts)))
