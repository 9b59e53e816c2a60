# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Dividing queries by a learned temperature: exact, and nothing more is kept."""

import copy

import pytest
import torch

from mmvpt.models.vit.attention import Quotient
from tests.models.vit.test_vit import build

GATED = dict(type='GatedPrompt', num_tokens=3, drop_rate=0.0)
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=GENERATOR)


def operands(dtype=torch.float64):
    query = torch.randn(2, 5, 24, dtype=dtype, requires_grad=True)
    return query, torch.tensor(0.7, dtype=torch.float64, requires_grad=True)


def test_gradients_of_first_and_second_order():
    assert torch.autograd.gradcheck(Quotient.apply, operands())
    assert torch.autograd.gradgradcheck(Quotient.apply, operands())


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_is_the_plain_expression(dtype):
    query, temperature = operands(dtype)
    weight = torch.randn(2, 5, 24, dtype=dtype)
    results = []
    for divide in (Quotient.apply, torch.div):
        out = divide(query, temperature)
        assert out.dtype == dtype
        grads = torch.autograd.grad(out, (query, temperature), weight)
        assert [g.dtype for g in grads] == [dtype, torch.float64]
        results.append((out, *grads))
    for found, expected in zip(*results):
        bound = 1e-12 if dtype == torch.float64 else 0.05
        torch.testing.assert_close(found, expected, rtol=bound, atol=bound)


def kept(vit):
    """Bytes that backward holds besides parameters."""
    own = {p.untyped_storage()._cdata for p in vit.parameters()}
    held = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            held[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        vit(IMAGES)
    return sum(storage.nbytes() for storage in held.values())


def test_nothing_more_is_kept_than_without_temperatures():
    with_them, without = (
        kept(build(prompt=dict(GATED, temperatures=there)).train())
        for there in (True, False)
    )
    assert 0 <= with_them - without < 8 * 24 * 20  # a query has 2 * 20 rows


@pytest.mark.parametrize('training', [True, False])
def test_compiled_without_graph_breaks(training):
    vit = build(prompt=GATED).train(training)
    compiled = torch.compile(copy.deepcopy(vit), backend='aot_eager', fullgraph=True)
    with torch.set_grad_enabled(training):
        expected, found = vit(IMAGES)[0], compiled(IMAGES)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    if training:
        expected.square().sum().backward()
        found.square().sum().backward()
        for a, b in zip(compiled.parameters(), vit.parameters()):
            assert (a.grad is None) == (b.grad is None)
            if a.grad is not None:
                torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-10)


def test_autocast(monkeypatch):
    """As exact as the plain expression, which rounds the same gradients."""
    vit = build(prompt=GATED).float().train()
    weight = torch.linspace(-1, 1, 48).view(2, 24)

    def gradient(enabled):
        vit.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            (vit(IMAGES.float())[0] * weight).sum().backward()
        return vit.prompt.temperatures.grad.clone()

    exact, found = gradient(False), gradient(True)
    monkeypatch.setattr(Quotient, 'apply', torch.div)
    error = (gradient(True) - exact).norm()
    assert found.dtype == torch.float32
    assert (found - exact).norm() < 2 * error + 0.01 * exact.norm()
