# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""VIPAMIN (Park and Chung, NeurIPS 2025)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvpt.errors import UserError, one_of
from mmvpt.registry import PROMPTS

from .base import FrozenHost, positive
from .depth import DepthPrompt


@PROMPTS.register_module()
class VipaminPrompt(DepthPrompt):
    r"""VPT whose prompts start matched to patches and off what attention produces.

    The start of layer i's prompts is
    :math:`(1 - \lambda) P^{match} + \lambda P^{orth}`, see :func:`matched` and
    :func:`orthogonalised`. ``PromptInitHook`` sets it before training; what trains and
    what is computed is VPT.

    Parameter ``tokens`` (M, C), or (L, M, C) if deep; VPT's start until then, which is
    what is matched.

    Source: `VIPAMIN <https://arxiv.org/abs/2510.16446>`_ and its
    `code <https://github.com/iamjaekyun/vipamin>`_.

    Args:
        num_tokens: Prompts of each layer (M).
        depth: ``shallow``, the published one, or ``deep``.
        num_matches: Patches that a matched prompt is the mean of (k).
        orthogonal: Share of the orthogonal part :math:`\lambda`, in [0, 1].
        inverse: ``paper``: the pseudo-inverse that puts values outside of the span of
            attention; ``released``: its transpose, as the code has it, which does not.
        num_images: Training images that means are taken over.
        drop_rate: Dropout on the prompts, drawn for each image and layer.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: For a share outside of [0, 1] or an unknown word.
    """

    def __init__(
        self,
        num_tokens: int,
        depth: str = 'shallow',
        num_matches: int = 8,
        orthogonal: float = 0.5,
        inverse: str = 'paper',
        num_images: int = 256,
        drop_rate: float = 0.0,
        **host,
    ) -> None:
        super().__init__(num_tokens, depth, drop_rate, **host)
        positive(num_matches=num_matches, num_images=num_images)
        one_of('inverse', inverse, ('paper', 'released'))
        if not 0 <= orthogonal <= 1:
            raise UserError(f'orthogonal must be in [0, 1], got {orthogonal!r}.')
        self.num_matches = num_matches
        self.orthogonal = orthogonal
        self.inverse = inverse
        self.init_images = num_images
        self.tokens = self.learned_tokens()

    def draw(self, i: int) -> Tensor:
        """Return the vectors of layer ``i`` to be made orthogonal, (M, C).

        Uniform as VPT's start, from the seed of the start.
        """
        bound = math.sqrt(6 / (3 * self.patch_size**2 + self.embed_dims))
        shape = (self.num_tokens, self.embed_dims)
        uniform = torch.rand(*shape, generator=self.generator(i), dtype=torch.float64)
        return (2 * uniform - 1) * bound

    def initialise(
        self, host: FrozenHost, batches: Iterable[tuple[Tensor, Tensor | None]]
    ) -> None:
        """Match and make orthogonal; arguments as of :meth:`BasePrompt.initialise`.

        Raises:
            UserError: If there are fewer patches than matches, or too many tokens for
                anything to be orthogonal to them.
        """
        images = [batch for batch, _ in batches]
        start = self.tokens.detach().double().cpu()
        parts = torch.zeros_like(start).view(self.num_prompted, *start.shape[-2:])
        share = self.orthogonal
        if share < 1:
            for i, seen in enumerate(self._means(host, images, prompted=True)):
                keys, patch_keys, patches = seen
                count = self._enough(len(patches))
                match = matched(keys, patch_keys, patches, count)
                parts[i] += (1 - share) * match
        if share > 0:
            for i, (attended,) in enumerate(self._means(host, images, prompted=False)):
                weight, bias = (x.double().cpu() for x in host.value(i))
                drawn = self.draw(i).double().cpu()
                orth = orthogonalised(drawn, attended, weight, bias, self.inverse)
                parts[i] += share * orth
        self.fill(self.tokens, parts.view_as(self.tokens).to(self.tokens))

    def _enough(self, num_patches: int) -> int:
        if self.num_matches > num_patches:
            raise UserError(
                f'VipaminPrompt: num_matches={self.num_matches}, but there are only '
                f'{num_patches} patches. Lower it.'
            )
        return self.num_matches

    def _means(
        self, host: FrozenHost, images: list[Tensor], prompted: bool
    ) -> list[list[Tensor]]:
        """Return means over images for each layer, in float64 on the CPU.

        With prompts: keys of prompts (M, d) and patches (N, d), also over heads, and
        the patches (N, C). Without: what attention produces at all tokens (T, C).
        """
        sums: list = [None] * self.num_prompted
        for batch in images:
            for i, seen in zip(range(self.num_prompted), host.trace(batch, prompted)):
                if prompted:
                    here = slice(host.num_extra, None)
                    read = [
                        of_heads(seen['prompt_keys'], host.num_heads),
                        of_heads(seen['token_keys'][:, here], host.num_heads),
                        seen['tokens'][:, here],
                    ]
                else:
                    read = [seen['attended']]
                read = [x.double().mean(0).cpu() * len(batch) for x in read]
                before = sums[i] or [torch.zeros_like(x) for x in read]
                sums[i] = [a + b for a, b in zip(before, read)]
        count = sum(map(len, images))
        return [[x / count for x in layer] for layer in sums]


def of_heads(keys: Tensor, num_heads: int) -> Tensor:
    """Return the mean over heads, (B, T, C / H), of keys (B, T, C)."""
    return keys.unflatten(-1, (num_heads, -1)).mean(-2)


def matched(
    prompt_keys: Tensor, patch_keys: Tensor, patches: Tensor, num_matches: int
) -> Tensor:
    """Return for each prompt the mean of the patches of most similar keys, (M, C).

    Similar by cosine; among equal ones the lowest index.

    Args:
        prompt_keys: (M, d).
        patch_keys: (N, d).
        patches: (N, C).
        num_matches: How many patches (k).
    """
    cosines = F.normalize(prompt_keys, dim=-1) @ F.normalize(patch_keys, dim=-1).mT
    nearest = cosines.sort(dim=-1, descending=True, stable=True)[1]
    return patches[nearest[:, :num_matches]].mean(1)


def orthogonalised(
    drawn: Tensor, attended: Tensor, weight: Tensor, bias: Tensor, inverse: str
) -> Tensor:
    r"""Return vectors whose values lie outside of the span of ``attended``, (M, C).

    With :math:`y = W_V u + b_V` and Q an orthonormal basis of the rows of
    ``attended``, :math:`y' = y - Q Q^T y` and :math:`P = W_V^+ (y' - b_V)`, so that
    :math:`W_V P + b_V = y'`; ``released`` has the transpose of :math:`W_V^+`.

    Args:
        drawn: u, (M, C).
        attended: (T, C).
        weight: (C, C), rows are outputs.
        bias: (C,).
        inverse: ``paper`` or ``released``.

    Raises:
        UserError: If T is not below C: then nothing lies outside of the span.
    """
    count, dims = attended.shape
    if count >= dims:
        raise UserError(
            f'VipaminPrompt: the {count} tokens of an image span all {dims} channels, '
            'so no value is orthogonal to them. Set orthogonal=0, or take a wider ViT '
            'or smaller images.'
        )
    basis, sizes, _ = torch.linalg.svd(attended.mT, full_matrices=False)
    basis = basis[:, sizes > sizes[0] * dims * torch.finfo(sizes.dtype).eps]
    values = drawn @ weight.mT + bias
    values = values - values @ basis @ basis.mT
    pseudo = torch.linalg.pinv(weight)
    return (values - bias) @ (pseudo.mT if inverse == 'paper' else pseudo)
