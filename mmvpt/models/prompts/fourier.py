# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Visual Fourier Prompt Tuning (Zeng et al., NeurIPS 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmvpt.errors import UserError, one_of
from mmvpt.registry import PROMPTS

from .depth import DepthPrompt, chosen_layers

#: Axes of (..., f, C) that each ``dimension`` transforms.
AXES = {'all': (-2, -1), 'hidden': (-1,), 'sequence': (-2,)}


@PROMPTS.register_module()
class FourierPrompt(DepthPrompt):
    r"""VPT with the real part of a Fourier transform of some of the prompts.

    With :math:`f = \lfloor \alpha M \rfloor`, D dropout and :math:`P_i` (M, C) the
    learned tokens of layer i,

    .. math::
        Z_i = [F(D(P_i[:f])); D(P_i[f:])], \quad
        F(X)_{kj} = \sum_{m < f, c < C} X_{mc}
            \cos 2 \pi \left(\frac{km}{f} + \frac{jc}{C}\right)

    F has no parameter and no scale. It sees the even part of its input alone, so about
    half the numbers in :math:`P_i[:f]` never get a gradient.

    Parameter ``tokens`` (L, M, C), or (M, C) if shallow; with ``transform='linear'``
    also ``linear``, shared by all layers.

    Source: `Visual Fourier Prompt Tuning <https://arxiv.org/abs/2411.01327>`_ and its
    `code <https://github.com/runtsang/VFPT>`_.

    Args:
        num_tokens: Prompts of each layer (M).
        ratio: Share of transformed prompts :math:`\alpha`; 0 is VPT.
        dimension: Transformed axes: ``all``, channels alone (``hidden``), or the f
            tokens alone (``sequence``).
        fourier_layers: Layers whose prompts are transformed, ascending; all if None.
            For deep prompts.
        transform: ``fourier``, or ``linear``: a learned linear layer in its place, the
            paper's ablation.
        depth: ``deep``, or ``shallow``: the prompts enter layer 0 and live through all
            layers.
        drop_rate: Dropout before the transform, drawn for each image and layer.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: For a ratio outside of [0, 1] or that leaves no token to transform,
            an option that would do nothing, or layers that the ViT does not have.
    """

    def __init__(
        self,
        num_tokens: int,
        ratio: float = 0.5,
        dimension: str = 'all',
        fourier_layers: Sequence[int] | None = None,
        transform: str = 'fourier',
        depth: str = 'deep',
        drop_rate: float = 0.1,
        **host,
    ) -> None:
        super().__init__(num_tokens, depth, drop_rate, **host)
        one_of('dimension', dimension, tuple(AXES))
        one_of('transform', transform, ('fourier', 'linear'))
        self.num_fourier = _num_fourier(num_tokens, ratio)
        if self.num_fourier == 0 and (dimension != 'all' or transform != 'fourier'):
            raise UserError(
                f'ratio=0 transforms no prompt, so dimension={dimension!r} and '
                f'transform={transform!r} would do nothing. Raise ratio or leave them.'
            )
        if transform == 'linear' and dimension != 'all':
            raise UserError(
                f"dimension={dimension!r} is an axis of transform='fourier'; the "
                'linear layer maps channels. Leave out one of the two.'
            )
        self.axes = AXES[dimension]
        self.fourier_layers = self._chosen(fourier_layers)
        self.tokens = self.learned_tokens()
        self.linear = None
        if transform == 'linear':
            self.linear = nn.Linear(self.embed_dims, self.embed_dims)
            nn.init.kaiming_normal_(self.linear.weight, a=0, mode='fan_out')

    def _chosen(self, layers: Sequence[int] | None) -> frozenset[int]:
        if layers is None:
            return frozenset(range(self.num_prompted))
        if self.depth == 'shallow':
            raise UserError(
                'fourier_layers chooses among the layers of deep prompts; shallow ones '
                "enter layer 0 alone. Leave it out, or set depth='deep'."
            )
        return frozenset(chosen_layers('fourier_layers', layers, self.num_layers))

    def rows(self, i: int, batch_size: int) -> Tensor:
        """Return the prompts of layer ``i``, transformed ones first.

        Returns:
            (1, M, C), or (B, M, C) under dropout.
        """
        tokens = super().rows(i, batch_size)
        if self.num_fourier == 0 or i not in self.fourier_layers:
            return tokens
        first, rest = tokens.tensor_split([self.num_fourier], dim=1)
        if self.linear is None:
            first = real_fourier(first, self.axes)
        else:
            first = self.linear(first)
        return torch.cat([first, rest], dim=1)


def _num_fourier(num_tokens: int, ratio: float) -> int:
    """Return f, the number of transformed prompts."""
    if not 0 <= ratio <= 1:
        raise UserError(f'ratio must be in [0, 1], got {ratio!r}.')
    count = math.floor(num_tokens * ratio)
    if ratio > 0 and count == 0:
        raise UserError(
            f'ratio={ratio} of num_tokens={num_tokens} prompts is less than one, so '
            'none would be transformed. Raise num_tokens or ratio; ratio=0 is VPT.'
        )
    return count


def real_fourier(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the real part of the unnormalised Fourier transform over ``axes``.

    In graphs, whose compilers know no complex numbers, by matrices of cosines and
    sines: the same to rounding. Half precision is computed in float32.

    Args:
        x: Real, (..., f, C).
        axes: Of -2 and -1, ascending.

    Returns:
        Shape and type of ``x``.
    """
    exact = x if x.dtype == torch.float64 else x.float()
    if not torch.compiler.is_compiling():
        return torch.fft.fftn(exact, dim=axes).real.to(x.dtype)
    with torch.autocast(x.device.type, enabled=False):
        real, imaginary = exact, torch.zeros_like(exact)
        for axis in axes:
            cos, sin = _tables(x.shape[axis], exact)
            turn = torch.matmul if axis == -2 else lambda table, y: y @ table
            real, imaginary = (
                turn(cos, real) + turn(sin, imaginary),
                turn(cos, imaginary) - turn(sin, real),
            )
        return real.to(x.dtype)


def _tables(n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of 2 pi k m / n, each (n, n) and symmetric."""
    steps = torch.arange(n, device=like.device)
    angles = (steps[:, None] * steps % n).to(like.dtype) * (2 * math.pi / n)
    return angles.cos(), angles.sin()
