# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Queries, projection and MLP run for rows that somebody reads, and for no other."""

import pytest
import torch

from mmvpt.models.backbones import prompted_layer as layer_module
from tests.models.backbones.test_prompted_vit import DEEP, SHALLOW, build

M, N = 4, 16
FEATMAP = dict(out_type='featmap', out_indices=(0, 1, 2))


@pytest.mark.parametrize(
    ('options', 'rows'),
    [
        (dict(prompt=None), (1 + N, 1 + N, 1)),
        (dict(prompt=DEEP), (1 + N, 1 + N, 1)),
        (dict(prompt=SHALLOW), (1 + M + N, 1 + M + N, 1)),
        (dict(prompt=DEEP, pooling='patches'), (1 + N, 1 + N, 1 + N)),
        (dict(prompt=DEEP, pooling='prompts'), (1 + N, 1 + N, 1 + M + N)),
        (
            dict(prompt=DEEP, pooling='prompts', out_indices=(0, 2)),
            (1 + M + N, 1 + N, 1 + M + N),
        ),
        (dict(prompt=DEEP, **FEATMAP), (1 + N, 1 + N, 1 + N)),
        (dict(prompt=SHALLOW, **FEATMAP), (1 + M + N, 1 + M + N, 1 + N)),
        (dict(prompt=DEEP, out_type='raw'), (1 + N, 1 + N, 1 + M + N)),
    ],
    ids=str,
)
def test_rows(options, rows, monkeypatch):
    vit = build(**options)
    queries, outputs = [], []

    def project(*args):
        query, key, value = layer_project(*args)
        if query is not None:
            queries.append(query.shape[2])
        return query, key, value

    layer_project = layer_module.project
    monkeypatch.setattr(layer_module, 'project', project)
    for layer in vit.layers:
        layer.ln2.register_forward_hook(lambda m, x, y: outputs.append(y.shape[1]))
    with torch.no_grad():
        vit(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    assert tuple(outputs) == rows
    assert tuple(queries) == rows


def test_keys_of_shared_prompts_are_computed_once(monkeypatch):
    vit = build(prompt=DEEP)
    batches = []
    layer_project = layer_module.project

    def project(attn, normed, *args):
        batches.append(len(normed))
        return layer_project(attn, normed, *args)

    monkeypatch.setattr(layer_module, 'project', project)
    vit(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    assert batches == [2, 1] * 3


def test_prompts_know_the_grid_of_a_picture_that_is_not_square():
    assert build(prompt=DEEP, img_size=(32, 48)).prompt.patch_grid == (4, 6)
