# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Queries, projection and MLP run for rows that somebody reads, and for no other."""

import pytest
import torch

from mmvpt.models.vit.blocks import Attention
from tests.models.vit.test_vit import DEEP, SHALLOW, build

M, N = 4, 16
FEATMAP = dict(out_type='featmap', out_indices=(0, 1, 2))


def record_products(monkeypatch):
    """Return a list that gets images, rows and parts of every projection."""
    products = []

    def project(attn, x, begin, parts):
        count = 1 if x.dim() == 2 else x.shape[1]
        products.append((len(x), count, 'qkv'[begin : begin + parts]))
        return original(attn, x, begin, parts)

    original = Attention.project
    monkeypatch.setattr(Attention, 'project', project)
    return products


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
    outputs = []
    products = record_products(monkeypatch)
    for layer in vit.layers:
        layer.ln2.register_forward_hook(lambda m, x, y: outputs.append(y.shape[1]))
    with torch.no_grad():
        vit(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    assert tuple(outputs) == rows
    assert tuple(count for _, count, parts in products if 'q' in parts) == rows


def test_keys_of_shared_prompts_are_computed_once(monkeypatch):
    """And none at all where the last layer is read at CLS alone."""
    vit = build(prompt=DEEP)
    products = record_products(monkeypatch)
    vit(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    layer = [(1, M, 'kv'), (2, 1 + N, 'q'), (2, 1 + N, 'kv')]
    assert products == [*layer, *layer, (2, 1, 'q')]


def test_without_gradients_one_product_serves_all(monkeypatch):
    vit = build(prompt=DEEP)
    products = record_products(monkeypatch)
    with torch.no_grad():
        vit(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    layer = [(1, M, 'kv'), (2, 1 + N, 'qkv')]
    assert products == [*layer, *layer, (2, 1, 'q')]


def test_prompts_know_the_grid_of_a_picture_that_is_not_square():
    assert build(prompt=DEEP, img_size=(32, 48)).prompt.patch_grid == (4, 6)
