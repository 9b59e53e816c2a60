# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What the rows of a position embedding are: a class token's, and a grid of patches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .architecture import ConversionError

Grid = tuple[int, int]


def grid_of(
    rows: int,
    with_cls: bool,
    grid: Grid | None = None,
    cls_row: bool | None = None,
    option: str = '--grid',
) -> tuple[Grid, bool]:
    """Tell the grid of patches that positions are of, and whether CLS has a row.

    Args:
        rows: Rows of the position embedding.
        with_cls: Whether there is a class token.
        grid: Rows and columns of patches, if they are known.
        cls_row: Whether CLS has a row, if that is known.
        option: What names the grid, for messages.

    Raises:
        ConversionError: If the number of rows fits no grid or two readings.
    """
    ambiguous = with_cls and cls_row is None
    readings = [1, 0] if ambiguous else [int(with_cls and bool(cls_row))]
    if grid is not None:
        fits = [n for n in readings if rows - n == math.prod(grid)]
        if not fits:
            extra = ' or '.join(str(math.prod(grid) + n) for n in reversed(readings))
            raise ConversionError(
                f'pos_embed has {rows} rows, a grid of {grid[0]} x {grid[1]} patches '
                f'needs {extra}. Give the grid of pretraining with {option}.'
            )
        return grid, bool(fits[0])
    square = [n for n in readings if rows > n and math.isqrt(rows - n) ** 2 == rows - n]
    if square and (square[0] or len(readings) == 1):
        side = math.isqrt(rows - square[0])
        return (side, side), bool(square[0])
    shapes = {n: _rectangle(rows - n) for n in readings}
    one, two = (f'{h}x{w}' for h, w in (shapes[readings[0]], shapes[readings[-1]]))
    if square:
        raise ConversionError(
            f'pos_embed has {rows} rows, which can be read in two ways: {rows - 1} '
            f'patches such as {one} behind a row for the class token (cls), or '
            f'{two} patches without a row for it (timm: no_embed_class, as DeiT III). '
            f'Say which with {option}, such as {option} {one} or {option} {two}.'
        )
    raise ConversionError(
        f'pos_embed has {rows} rows, that is {rows - readings[0]} patches '
        + (f'(or {rows} without a row for CLS), ' if len(readings) > 1 else '')
        + 'no square number, so their grid is unknown. Give height and width '
        f'in patches with {option}, such as {option} {one}.'
    )


def as_grid(text: str | Sequence[int] | None) -> Grid | None:
    """Read a grid, ``16x24`` on the command line and ``(16, 24)`` in configs."""
    if text is None:
        return None
    parts = text.lower().split('x') if isinstance(text, str) else list(text)
    if len(parts) == 2 and all(str(p).isdecimal() and int(p) > 0 for p in parts):
        return int(parts[0]), int(parts[1])
    raise ConversionError(
        f'a grid is HEIGHTxWIDTH in patches, such as 16x24, got {text!r}.'
    )


def are_fixed(positions: Tensor | None) -> bool:
    r"""Tell whether positions are the sines and cosines of MAE and MoCo v3.

    For row r and column c and :math:`\omega_k = 10000^{-4k/C}`:
    :math:`[\sin c\,\omega, \cos c\,\omega, \sin r\,\omega, \cos r\,\omega]`; zeros at
    CLS.

    Args:
        positions: (1, 1 + N, C), N a square number.
    """
    if positions is None or positions.dim() != 3 or positions.shape[2] % 4:
        return False
    rows, dims = positions.shape[1:]
    side = math.isqrt(max(rows - 1, 0))
    if side < 2 or side**2 != rows - 1 or not positions.is_floating_point():
        return False
    omega = 10000.0 ** -(torch.arange(dims // 4).double() / (dims // 4))
    angle = torch.arange(side).double()[:, None] * omega
    both = [angle[None].expand(side, -1, -1), angle[:, None].expand(-1, side, -1)]
    table = torch.cat([f(a) for a in both for f in (torch.sin, torch.cos)], dim=-1)
    given = positions[0].double()
    close = torch.allclose(given[1:], table.flatten(0, 1), rtol=0, atol=2e-3)
    return close and not given[0].abs().max() > 2e-3


def _rectangle(count: int) -> Grid:
    """Return the factors of a number that are nearest to each other."""
    height = next(n for n in range(math.isqrt(max(count, 1)), 0, -1) if count % n == 0)
    return height, count // height
