# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Rotary positions: queries and keys at patches turn by angles of their place."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Rotary(NamedTuple):
    r"""How a family turns pairs of channels of a head of d channels.

    Row r of h rows has the coordinate :math:`u_r`, columns alike. The d / 2 angles of a
    patch are :math:`u / \theta^{4k/d}`, :math:`k = 0 \ldots d/4 - 1`, of its row, then
    of its column.

    Args:
        theta: Base of the frequencies.
        places: Which coordinates: ``centred`` :math:`2 \pi (2 (r + 1/2) / h - 1)`;
            ``scaled`` :math:`16 r / h`, to the grid of pretraining; ``counted`` r + 1.
        interleaved: Whether channels 2k and 2k + 1 are a pair, else k and k + d / 2.
        columns_first: Whether angles of the column stand before those of the row.
    """

    theta: float
    places: str
    interleaved: bool
    columns_first: bool = False


ROTATIONS = {
    'dinov3': Rotary(100.0, 'centred', interleaved=False),
    'eva02': Rotary(10000.0, 'scaled', interleaved=True),
    'pe': Rotary(10000.0, 'counted', interleaved=True, columns_first=True),
}


class Rotation(NamedTuple):
    """Cosines and sines of every row, (T, d); CLS, registers and prompts do not turn.

    Args:
        cos: 1 where a row does not turn.
        sin: 0 where it does not.
        interleaved: See :class:`Rotary`.
    """

    cos: Tensor
    sin: Tensor
    interleaved: bool

    def inserted(self, at: int, count: int) -> Rotation:
        """Let ``count`` rows that do not turn stand before row ``at``."""
        still = self.cos.new_ones(count, self.cos.shape[1])
        parts = [(t[:at], t[at:]) for t in (self.cos, self.sin)]
        cos, sin = (
            torch.cat([first, x, rest])
            for (first, rest), x in zip(parts, (still, 0 * still))
        )
        return self._replace(cos=cos, sin=sin)

    def __call__(self, x: Tensor, num_heads: int) -> Tensor:
        r"""Turn queries or keys: :math:`x \cos a + J x \sin a`, in float32 at least.

        Args:
            x: The first rows, (B, T', C), heads side by side.
            num_heads: How many heads (H).
        """
        rows = x.shape[1]
        heads = x.unflatten(-1, (num_heads, -1)).to(self.cos.dtype)
        if self.interleaved:
            even, odd = heads.unflatten(-1, (-1, 2)).unbind(-1)
            turned = torch.stack([-odd, even], dim=-1).flatten(-2)
        else:
            first, second = heads.chunk(2, dim=-1)
            turned = torch.cat([-second, first], dim=-1)
        cos, sin = (t[:rows, None] for t in (self.cos, self.sin))
        return (heads * cos + turned * sin).flatten(-2).to(x.dtype)


def rotation(
    rotary: Rotary,
    grid: tuple[int, int],
    num_extra: int,
    head_dims: int,
    like: Tensor,
    periods_dtype: torch.dtype | None = None,
) -> Rotation:
    """Return the turns of E rows before the patches and of the patches.

    Args:
        rotary: The family's.
        grid: Rows and columns of the patches.
        num_extra: Rows that do not turn (E).
        head_dims: Channels of a head (d), a multiple of 4.
        like: Where the tables go; float64 if it is, else float32.
        periods_dtype: Precision that frequencies are rounded to, as DINOv3's released
            weights have them in bfloat16.
    """
    device, double = like.device, torch.float64
    k = torch.arange(head_dims // 4, dtype=double, device=device)
    periods = rotary.theta ** (k / (head_dims // 4))
    if periods_dtype is not None:
        periods = periods.to(periods_dtype).to(double)
    angles = []
    for size in grid:
        place = torch.arange(size, dtype=double, device=device)
        if rotary.places == 'centred':
            place = 2 * math.pi * (2 * (place + 0.5) / size - 1)
        elif rotary.places == 'scaled':
            place = 16 * place / size
        else:
            place = place + 1
        angles.append(place[:, None] / periods)
    rows, columns = angles
    shape = (*grid, head_dims // 4)
    both = [rows[:, None].expand(shape), columns[None].expand(shape)]
    both = both[::-1] if rotary.columns_first else both
    angle = torch.cat(both, dim=-1).flatten(0, 1)
    if rotary.interleaved:
        angle = angle.repeat_interleave(2, dim=-1)
    else:
        angle = torch.cat([angle, angle], dim=-1)
    dtype = double if like.dtype == double else torch.float32
    before = (0, 0, num_extra, 0)
    cos = F.pad(angle.cos(), before, value=1.0)
    return Rotation(
        cos.to(dtype), F.pad(angle.sin(), before).to(dtype), rotary.interleaved
    )
