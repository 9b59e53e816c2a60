# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The page on backbones adds a family, and it computes what timm computes."""

import re
from pathlib import Path

import torch

from mmvpt.weights import FAMILIES, convert
from mmvpt.weights.recognition import RECOGNISERS
from tests.weights.sources import HEADS, ours, source, timm_vit

PAGE = Path(__file__).parents[2] / 'docs/backbones.md'


def block():
    section = PAGE.read_text().partition('## Adding a family')[2]
    return re.search(r'```python\n(.*?)```', section, re.DOTALL)[1]


@torch.no_grad()
def test_the_family_of_the_page(monkeypatch):
    vit = timm_vit(class_token=False, global_pool='avg', fc_norm=False)
    state = source(vit.state_dict())
    for table in (FAMILIES, RECOGNISERS):  # undone after the test
        monkeypatch.setitem(table, 'ijepa', None)
        del table['ijepa']
    code = block()
    assert len(code.splitlines()) <= 12
    exec(compile(code, str(PAGE), 'exec'), {})
    found = convert(state, num_heads=HEADS)
    assert found.architecture.family == 'ijepa'
    assert found.architecture.backbone_options()['arch']['family'] == 'ijepa'
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    wanted = vit.forward_features(x)
    got = ours(found)(x)[0]
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)
    pooled = ours(found, out_type='cls_token')(x)[0]
    torch.testing.assert_close(pooled, wanted.mean(1), rtol=0, atol=1e-10)
