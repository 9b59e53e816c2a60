# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A layer is a module that runs: hooks, recomputation, wrappers, other projections."""

import copy

import pytest
import torch
from mmengine.runner import turn_on_activation_checkpointing
from torch import nn

from mmvpt.errors import UserError
from tests.models.vit.test_vit import DEEP, GUIDED_MASK, SHALLOW, TRICKS, build

IMAGES = torch.randn(2, 3, 32, 32, dtype=torch.float64)
LORA = dict(type='LoRA', rank=2)
KINDS = {
    'bare': dict(prompt=None, tunable='full'),
    'deep': dict(prompt=DEEP),
    'shallow': dict(prompt=SHALLOW, out_type='raw'),
    'tricks': dict(prompt=TRICKS),
    'guided': dict(prompt=GUIDED_MASK, pooling='patches'),
    'lora': dict(prompt=None, adapter=LORA),
    'biases': dict(prompt=None, tunable='davpt+', out_type='featmap'),
}
every_kind = pytest.mark.parametrize('kind', KINDS)


@pytest.mark.parametrize(
    'place', ['', 'attn', 'ln1', 'ln2', 'ffn', 'attn.proj', 'attn.qkv']
)
@pytest.mark.parametrize('kind', ['deep', 'shallow', 'tricks'])
def test_what_a_hook_returns_is_used(kind, place):
    """And so is what a hook before the module makes of its input."""
    name = f'layers.1.{place}'.rstrip('.')
    vit = build(**KINDS[kind])
    plain = vit(IMAGES)[0]
    for register in ('register_forward_hook', 'register_forward_pre_hook'):
        seen = []

        def change(module, first, *rest, seen=seen):
            seen.append(1)
            given = rest[0] if rest else first
            first, *others = given if isinstance(given, tuple) else (given,)
            first = first * torch.linspace(0.5, 1.5, first.shape[-1]).double()
            return (first, *others) if others else first

        handle = getattr(vit.get_submodule(name), register)(change)
        changed = vit(IMAGES)[0]
        handle.remove()
        assert seen
        assert not torch.allclose(changed, plain)
        assert torch.equal(vit(IMAGES)[0], plain)


def test_hooks_see_what_the_layer_wrote():
    vit = build(prompt=DEEP)
    seen = []
    for layer in vit.layers:
        layer.register_forward_hook(lambda m, args, out: seen.append((args[0], out)))
    vit(IMAGES)
    assert [out.shape[1] for _, out in seen] == [17, 17, 1]
    assert torch.equal(seen[0][1], seen[1][0])


@every_kind
@pytest.mark.parametrize('place', ['layers.{}', 'layers.{}.attn', 'layers.{}.ffn'])
@pytest.mark.filterwarnings('ignore:torch.utils.checkpoint')
def test_activation_checkpointing_of_mmengine(kind, place):
    """The same gradients, while the modules run again in backward."""
    vit = build(**KINDS[kind]).train()
    vit.guide.reads = ('output', 'patch_key', 'prompt')
    operands = []
    vit.guide.register_forward_hook(lambda m, args, out: operands.append(args[1]))
    ran = []
    vit.layers[0].ln2.register_forward_hook(lambda *_: ran.append(1))
    grads = []
    for wrapped in (False, True):
        if wrapped:
            names = [place.format(i) for i in range(3)]
            turn_on_activation_checkpointing(vit, names)
        vit.zero_grad()
        ran.clear(), operands.clear()
        loss = sum(out.square().sum() for out in vit(IMAGES))
        loss = loss + sum(x.sum() for read in operands for x in read.values())
        loss.backward()
        grads.append({n: p.grad for n, p in vit.named_parameters() if p.requires_grad})
    assert len(ran) == (2 if place == 'layers.{}' else 1)
    assert all(grad is not None for grad in grads[0].values())
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-10, atol=1e-10)


class Wrapper(nn.Module):
    """As sharding wraps a layer: whoever runs it must come through ``forward``."""

    def __init__(self, module):
        super().__init__()
        self.module = module
        self.runs = 0

    def forward(self, *args, **kwargs):
        self.runs += 1
        return self.module(*args, **kwargs)


@every_kind
def test_wrapped_layers(kind):
    vit = build(**KINDS[kind])
    wrapped = copy.deepcopy(vit)
    for i in range(3):
        wrapped.layers[i] = Wrapper(wrapped.layers[i])
    for part in (vit, wrapped):
        part.eval()
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(wrapped(IMAGES), vit(IMAGES), rtol=0, atol=1e-10)
    assert [layer.runs for layer in wrapped.layers] == [2, 2, 2]


class LowRankLinear(nn.Module):
    """As PEFT replaces a linear layer: another module that keeps the first one."""

    def __init__(self, base_layer, rank=2):
        super().__init__()
        self.base_layer = base_layer
        rows, columns = base_layer.weight.shape
        self.down = nn.Parameter(torch.randn(rank, columns, dtype=torch.float64))
        self.up = nn.Parameter(torch.randn(rows, rank, dtype=torch.float64))

    @property
    def weight(self):
        return self.base_layer.weight

    @property
    def bias(self):
        return self.base_layer.bias

    def forward(self, x):
        return self.base_layer(x) + x @ self.down.T @ self.up.T


class DoubledLinear(nn.Linear):
    """A linear layer that computes something else with the same weights."""

    def forward(self, x):
        return 2 * super().forward(x)


@every_kind
@pytest.mark.parametrize('kind_of_layer', ['wrapper', 'subclass'])
def test_a_replaced_projection_takes_effect(kind, kind_of_layer):
    """Everywhere, exactly: as if its weights had been merged."""
    if kind == 'lora':
        pytest.skip('has replaced the projection by itself')
    vit = build(**KINDS[kind]).train()
    merged = copy.deepcopy(vit)
    for layer, other in zip(vit.layers, merged.layers):
        qkv, plain = layer.attn.qkv, other.attn.qkv
        trains = qkv.weight.requires_grad
        if kind_of_layer == 'wrapper':
            layer.attn.qkv = LowRankLinear(qkv)
            delta = layer.attn.qkv.up @ layer.attn.qkv.down
        else:
            layer.attn.qkv = DoubledLinear(24, 72).double().requires_grad_(trains)
            layer.attn.qkv.load_state_dict(qkv.state_dict())
            delta = plain.weight.detach()
            plain.bias = nn.Parameter(2 * plain.bias.detach(), requires_grad=trains)
        plain.weight = nn.Parameter((plain.weight + delta).detach(), trains)
    torch.testing.assert_close(vit(IMAGES), merged(IMAGES), rtol=1e-10, atol=1e-10)
    vit.eval(), merged.eval()
    with torch.no_grad():
        for _ in range(2):
            found, expected = vit(IMAGES), merged(IMAGES)
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_peft_learns():
    vit = build(prompt=None, tunable='none')
    for layer in vit.layers:
        layer.attn.qkv = LowRankLinear(layer.attn.qkv)
    vit.train()(IMAGES)[0].square().sum().backward()
    for layer in vit.layers:
        assert layer.attn.qkv.down.grad.abs().sum() > 0


def test_a_projection_of_another_width_is_refused():
    vit = build(prompt=DEEP)
    vit.layers[1].attn.qkv = nn.Linear(24, 48).double()
    with pytest.raises(UserError, match='gives 48 channels; it must give 72'):
        vit(IMAGES)


def test_nothing_writes_to_data(monkeypatch):
    """Which version counters do not see."""
    for kind in KINDS.values():
        vit = build(**kind).train()
        versions = {n: p._version for n, p in vit.named_parameters()}
        before = copy.deepcopy(vit.state_dict())
        vit(IMAGES)
        assert versions == {n: p._version for n, p in vit.named_parameters()}
        assert_same_state(vit.state_dict(), before)


def assert_same_state(found, expected):
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
