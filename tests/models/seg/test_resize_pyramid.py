# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The pyramid without parameters, against Rein's figures."""

import pytest
import torch

from mmvpt.errors import UserError
from mmvpt.models.seg import ResizePyramid
from tests.models.golden import load_golden

GOLDEN = load_golden('rein_golden')


def test_golden_pyramid():
    shape = (4, *GOLDEN['lora/pyramid_2'].shape[1:])
    maps = GOLDEN['lora/feature'].unflatten(1, shape).unbind(1)
    queries = GOLDEN['lora/queries']
    *outs, last = ResizePyramid()((*maps, queries))
    assert last is queries and len(outs) == 4
    for k, out in enumerate(outs):
        expected = GOLDEN[f'lora/pyramid_{k}']
        out = out if k else out[:, ::8]  # the largest is stored in part
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    assert not list(ResizePyramid().parameters())


def test_refusals():
    with pytest.raises(UserError, match='must be positive'):
        ResizePyramid((2, 0))
    with pytest.raises(UserError, match='2 scales for 1 maps'):
        ResizePyramid((2, 1))([torch.zeros(1, 2, 4, 4)])
