# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Bilinear Prompt Tuning (Wang, Duan and Kong, ICCV 2025)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mmvpt.errors import UserError, one_of
from mmvpt.registry import PROMPTS

from .base import FrozenHost, drop_for_each_image
from .depth import DepthPrompt

#: Standard deviation of the factors at the start, in the released code.
FACTOR_STD = 0.02
#: Training images that a whitening is made of; enough, says the paper.
INIT_IMAGES = 100
#: Smallest eigenvalue in the whitening of ``init='whitened'``, of the largest.
FLOOR = 1e-6


@PROMPTS.register_module()
class BilinearPrompt(DepthPrompt):
    r"""Prompts that are products of two matrices, :math:`P_i = A_i B_i^T`.

    Parameters ``factors`` A (M, r), or (L, M, r) if deep, and ``bases`` B (C, r), or
    (t, C, r) if deep: those of the last t layers. Bases that do not train are the
    buffer ``fixed_bases``, which is saved with the prompts.

    Source: `Attention to the Burstiness in Visual Prompt Tuning!
    <https://arxiv.org/abs/2506.22908>`_ and its
    `code <https://github.com/WangYZ1608/BPT>`_.

    Args:
        num_tokens: Prompts of each layer (M); any number, not only squares.
        rank: Width of the factors (r); C if None.
        depth: ``shallow``: the prompts enter layer 0 and live through all layers; or
            ``deep``.
        tuned_bases: How many of the last layers' bases train; all if None, none if 0
            (the paper's fWhiten, with ``rank=None, init='whitened'``). The released
            code trains 4 of deep prompts.
        init: Start of the bases: ``random``, Xavier's uniform; or ``whitened``, columns
            of the whitening of training images' tokens, which ``PromptInitHook`` sets.
        drop_rate: Dropout on the prompts; neither paper nor code have any.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: For a rank outside of 1 to C, or more tuned bases than there are.
    """

    def __init__(
        self,
        num_tokens: int,
        rank: int | None = 75,
        depth: str = 'shallow',
        tuned_bases: int | None = None,
        init: str = 'random',
        drop_rate: float = 0.0,
        **host,
    ) -> None:
        super().__init__(num_tokens, depth, drop_rate, **host)
        one_of('init', init, ('random', 'whitened'))
        self.init = init
        self.init_images = INIT_IMAGES if init == 'whitened' else 0
        self.rank = self._checked_rank(rank)
        self.num_fixed = self._num_fixed(tuned_bases)
        layers = (self.num_layers,) if depth == 'deep' else ()
        factors = torch.randn(*layers, num_tokens, self.rank) * FACTOR_STD
        self.factors = nn.Parameter(factors)
        bound = math.sqrt(6 / (self.embed_dims + self.rank))
        bases = torch.empty(*layers, self.embed_dims, self.rank)
        bases.uniform_(-bound, bound)
        fixed, tuned = None, bases
        if self.num_fixed == self.num_prompted:
            fixed, tuned = bases, None
        elif self.num_fixed:
            fixed, tuned = bases[: self.num_fixed], bases[self.num_fixed :]
        self.bases = None if tuned is None else nn.Parameter(tuned.clone())
        self.register_buffer('fixed_bases', None if fixed is None else fixed.clone())

    def _checked_rank(self, rank: int | None) -> int:
        if rank is None:
            return self.embed_dims
        if not isinstance(rank, int) or not 1 <= rank <= self.embed_dims:
            raise UserError(
                f'rank must be an integer from 1 to the {self.embed_dims} channels of '
                f'the ViT, or None for all of them; got {rank!r}.'
            )
        return rank

    def _num_fixed(self, tuned_bases: int | None) -> int:
        """Return how many of the first layers' bases do not train."""
        most = self.num_prompted
        if tuned_bases is None:
            return 0
        if self.depth == 'shallow' and tuned_bases != 0:
            raise UserError(
                f'tuned_bases={tuned_bases!r} counts layers of deep prompts; shallow '
                'ones have a single basis. Leave it out to train it, or set it to 0.'
            )
        if not isinstance(tuned_bases, int) or not 0 <= tuned_bases <= most:
            raise UserError(
                f'tuned_bases must be an integer from 0 to the {most} layers, or None '
                f'for all of them; got {tuned_bases!r}.'
            )
        return most - tuned_bases

    def basis(self, i: int) -> Tensor:
        """Return the basis of layer ``i``, (C, r)."""
        fixed = i < self.num_fixed
        bases = self.fixed_bases if fixed else self.bases
        return self.of_layer(bases, i if fixed else i - self.num_fixed)

    def rows(self, i: int, batch_size: int) -> Tensor:
        """Return the product of layer ``i``, (1, M, C), or (B, M, C) under dropout."""
        prompts = self.of_layer(self.factors, i) @ self.basis(i).mT
        return drop_for_each_image(prompts, self.dropout, batch_size)

    def not_started(self) -> None:
        """Refuse to train random bases as whitened ones."""
        raise UserError(
            "BilinearPrompt: init='whitened', but the bases were neither whitened nor "
            "loaded. Add default_hooks.prompt_init=dict(type='mmvpt.PromptInitHook') "
            "to the config, or set init='random'."
        )

    def initialise(
        self, host: FrozenHost, batches: Iterable[tuple[Tensor, Tensor | None]]
    ) -> None:
        """Whiten all bases; arguments as of :meth:`BasePrompt.initialise`."""
        entering: list[list[Tensor]] = [[] for _ in range(self.num_prompted)]
        for images, _ in batches:
            for kept, seen in zip(entering, host.trace(images)):
                kept.append(seen['tokens'].cpu())
        for i, kept in enumerate(entering):
            query, key = (of(i)[0].double().cpu() for of in (host.query, host.key))
            self.whiten(i, query, key, torch.cat(kept).double())

    def whiten(
        self, i: int, query_weight: Tensor, key_weight: Tensor, tokens: Tensor
    ) -> None:
        """Set the basis of layer ``i`` to columns of the paper's whitening.

        All rows get the same columns, drawn from the seed of the start.

        Args:
            i: The layer.
            query_weight: Of layer ``i``, (C, C), rows are outputs.
            key_weight: The same.
            tokens: What enters layer ``i`` of the ViT without prompts, (B, T, C).
        """
        whitened = whitening(query_weight, key_weight, tokens, 'tokens', FLOOR)
        noise = torch.rand(self.embed_dims, generator=self.generator(i))
        noise = noise.to(whitened.device).expand(self.embed_dims, -1)
        self.fill(self.basis(i), columns_of(whitened, noise, self.rank))


def whitening(
    query_weight: Tensor,
    key_weight: Tensor,
    tokens: Tensor,
    samples: str = 'images',
    floor: float = 0.0,
) -> Tensor:
    r"""Return the symmetric :math:`\Sigma^{-1/2}` of projected tokens, (C, C).

    ``samples='tokens'``, the paper: :math:`\tilde X = W_q^T W_k X^T` of all tokens,
    :math:`\Sigma = \tilde X \tilde X^T / n` with n their number. ``images``, the
    released code: :math:`\tilde X = W_q W_k^T \bar X^T` of the mean over images, and
    n = C. No mean is subtracted.

    Args:
        query_weight: (C, C), rows are outputs.
        key_weight: The same.
        tokens: (B, T, C).
        samples: ``tokens`` or ``images``.
        floor: Smallest eigenvalue, as a share of the largest.

    Raises:
        UserError: If there are fewer vectors than channels and no floor: all but T
            directions would then be amplified rounding noise.
    """
    one_of('samples', samples, ('tokens', 'images'))
    dims = tokens.shape[-1]
    if samples == 'tokens':
        vectors, product = tokens.flatten(0, 1), query_weight.mT @ key_weight
    else:
        vectors, product = tokens.mean(0), query_weight @ key_weight.mT
    if len(vectors) < dims and not floor > 0:
        raise UserError(
            f'{len(vectors)} token vectors of {dims} channels have a singular '
            "covariance, whose whitening is rounding noise. Use samples='tokens' with "
            'more images, or a floor such as 1e-6.'
        )
    projected = vectors @ product.mT
    count = len(vectors) if samples == 'tokens' else dims
    values, axes = torch.linalg.eigh(projected.mT @ projected / count)
    values = values.clamp(min=floor * float(values[-1]))
    return (axes * values.rsqrt()) @ axes.mT


def columns_of(whitening: Tensor, noise: Tensor, rank: int) -> Tensor:
    """Choose ``rank`` columns for each row of a whitening, as the released code does.

    Row d of the result is ``whitening[d, order[d, :rank]]``, order the argsort of each
    row of ``noise``.

    Args:
        whitening: (C, C).
        noise: A draw, (C, C); with equal rows all rows keep the same columns.
        rank: Columns (r).

    Returns:
        (C, r).
    """
    return whitening.gather(1, noise.argsort(dim=1)[:, :rank])
