# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What attention sees of static prompts: computed once, and never used when stale."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from mmvpt.models.prompts import RefiningPrompt
from mmvpt.models.vit.layer import PromptedAttention
from tests.models.vit.test_vit import DEEP, SHALLOW, build

IMAGES = torch.randn(2, 3, 32, 32, dtype=torch.float64)
PROJECTED = dict(type='DeepPrompt', num_tokens=4, project_dims=5, drop_rate=0.5)
DISTRIBUTION = dict(
    type='DistributionAwarePrompt',
    num_classes=3,
    num_guided_tokens=2,
    num_tokens=3,
    normalize='layer',
)
ADAPTIVE = dict(type='AdaptivePrompt', num_tokens=3)
REFINING = dict(type='RefiningPrompt', num_tokens=4, rank=None, scale_init=0.5)
GATED = dict(type='GatedPrompt', num_tokens=3)
TUNED = ['layers.*.attn.qkv.bias.key', 'layers.*.ln1.*', 'layers.1.attn.qkv.weight']


@pytest.fixture
def computed(monkeypatch):
    """Count how often prompts were projected or normed for attention."""
    calls = []

    def see(*args):
        calls.append(1)
        return original(*args)

    original = PromptedAttention.see
    monkeypatch.setattr(PromptedAttention, 'see', see)
    return calls


@torch.no_grad()
def fresh(vit):
    """Return what ``vit`` gives when nothing is kept."""
    vit.static_prompts.clear()
    out = vit(IMAGES)
    vit.static_prompts.clear()
    return out


@pytest.mark.parametrize(
    ('prompt', 'first', 'later'),
    [
        (DEEP, 3, 0),
        (dict(DEEP, layers=[0, 2]), 2, 0),
        (PROJECTED, 3, 0),
        (DISTRIBUTION, 3, 0),
        (ADAPTIVE, 3, 2),
        (SHALLOW, 1, 1),  # what the last layer reads; others keep their rows
        (GATED, 1, 1),
        (None, 0, 0),
    ],
    ids=str,
)
@pytest.mark.parametrize('output', [{}, dict(out_type='featmap')], ids=['cls', 'map'])
def test_computed_once_and_bit_identical(prompt, first, later, output, computed):
    vit = build(prompt=prompt, tunable='bias', **output).eval()
    expected = vit(IMAGES)  # gradients are on: nothing is kept
    assert len(vit.static_prompts) == 0
    computed.clear()
    with torch.no_grad():
        outs = [vit(IMAGES)]
        assert len(computed) == first
        computed.clear()
        outs += [vit(IMAGES) for _ in range(2)]
        assert len(computed) == 2 * later
        again = vit(IMAGES[:1])
    assert all(torch.equal(out[0], outs[0][0]) for out in outs)
    torch.testing.assert_close(outs[0], expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(again[0], expected[0][:1], rtol=0, atol=1e-10)


def set_in_place(vit, name):
    vit.get_parameter(name).mul_(2)


def change_data_and_mode(vit, name):
    """As mmengine's moving average swaps weights before it evaluates."""
    parameter = vit.get_parameter(name)
    parameter.data.copy_(2 * parameter.data)
    vit.eval()


def replace_data(vit, name):
    parameter = vit.get_parameter(name)
    for scale in (2, 1):  # the second may be given the address of the original
        parameter.data = scale * parameter.data


def replace_parameter(vit, name):
    module, _, leaf = name.rpartition('.')
    for _ in range(2):
        old = vit.get_parameter(name)
        new = nn.Parameter(old.detach() * 2, requires_grad=old.requires_grad)
        setattr(vit.get_submodule(module), leaf, new)


def load_state(vit, name):
    state = {k: v.clone() for k, v in vit.state_dict().items()}
    state[name] *= 2
    vit.load_state_dict(state)


def load_by_assignment(vit, name):
    state = {k: v.clone() for k, v in vit.state_dict().items()}
    state[name] *= 2
    vit.load_state_dict(state, assign=True)


def convert(vit, name):
    vit.float().double()


def optimize(vit, name):
    optimizer = torch.optim.SGD(vit.parameters(), lr=0.1)
    with torch.enable_grad():
        vit(IMAGES)[0].square().sum().backward()
    optimizer.step()


def change_bias(vit, name):
    vit.layers[0].attn.tuned_bias.key.add_(1)
    vit.layers[0].attn.qkv.bias.add_(1)


def change_norm(vit, name):
    vit.layers[1].ln1.weight.add_(1)


def change_weight(vit, name):
    vit.layers[1].attn.qkv.weight.mul_(2)


CHANGES = [
    set_in_place,
    change_data_and_mode,
    replace_data,
    replace_parameter,
    load_state,
    load_by_assignment,
    convert,
]


@pytest.mark.parametrize(
    'change',
    [*CHANGES, optimize, change_bias, change_norm, change_weight],
    ids=lambda f: f.__name__,
)
def test_never_stale(change):
    vit = build(prompt=DEEP, tunable=TUNED).eval()
    with torch.no_grad():
        before = vit(IMAGES)[0]
        assert len(vit.static_prompts) == 3
        change(vit, 'prompt.tokens')
        after = vit(IMAGES)[0]
        assert not torch.equal(before, after)
        assert torch.equal(after, fresh(vit)[0])


def test_constants_of_a_refinement(monkeypatch):
    """Computed once, the same as with gradients, and never stale."""
    calls = []

    def layer_tokens(prompt, i):
        calls.append(i)
        return original(prompt, i)

    original = RefiningPrompt.layer_tokens
    monkeypatch.setattr(RefiningPrompt, 'layer_tokens', layer_tokens)
    vit = build(prompt=REFINING, pooling='cls').eval()
    expected = vit(IMAGES)  # gradients are on: nothing is kept
    assert calls == [0, 1] and len(vit.static_prompts) == 0
    with torch.no_grad():
        outs = [vit(IMAGES)[0] for _ in range(3)]
        assert calls == [0, 1, 0, 1]
        assert all(torch.equal(out, outs[0]) for out in outs)
        torch.testing.assert_close(outs[0], expected[0], rtol=0, atol=1e-12)
        for name in ('prompt.tokens', 'prompt.feature_proj.weight'):
            set_in_place(vit, name)
            after = vit(IMAGES)[0]
            assert not torch.equal(after, outs[0])
            assert torch.equal(after, fresh(vit)[0])


def test_another_precision_of_products_is_another_state(computed):
    """The mode is there on every machine, whether or not it changes results."""
    vit = build(prompt=DEEP).float().eval()
    before = torch.get_float32_matmul_precision()
    with torch.no_grad():
        vit(IMAGES.float())
        computed.clear()
        torch.set_float32_matmul_precision('medium')
        try:
            vit(IMAGES.float())
        finally:
            torch.set_float32_matmul_precision(before)
    assert len(computed) == 3


def test_guided_prompts_in_eval_mode_alone():
    """Where a metric loss reads outputs, the last layer has keys and values."""
    guided = dict(DISTRIBUTION, guided_layers=[0, 2])
    vit = build(prompt=guided).train()
    vit.guide.reads = ('output', 'output_patch')
    records = []
    vit.guide.register_forward_hook(lambda m, args, out: records.append(args[1]))
    vit.prompt.eval()
    expected = vit(IMAGES)[0]
    with torch.no_grad():
        torch.testing.assert_close(vit(IMAGES)[0], expected, rtol=0, atol=1e-10)
    assert len(records) == 4
    for plain, kept in zip(records[:2], records[2:]):
        for name, value in plain.items():
            torch.testing.assert_close(kept[name], value, rtol=0, atol=1e-10)


def test_inference_mode_after_no_grad_and_back():
    vit = build(prompt=DEEP).eval()
    with torch.inference_mode():
        first = vit(IMAGES)[0].clone()
    with torch.no_grad():
        assert torch.equal(vit(IMAGES)[0], first)
    vit(IMAGES)[0].sum().backward()
    assert vit.prompt.tokens.grad is not None


def test_parameters_made_in_inference_mode_are_not_trusted():
    with torch.inference_mode():
        vit = build(prompt=DEEP).eval()
        first = vit(IMAGES)[0]
        vit.prompt.tokens.mul_(2)
        assert len(vit.static_prompts) == 0
        assert not torch.equal(vit(IMAGES)[0], first)


def test_dropout_left_on_and_listeners_get_what_they_ask_for():
    vit = build(prompt=dict(DEEP, drop_rate=0.5)).eval()
    with torch.no_grad():
        vit(IMAGES)
        vit.prompt.dropout.train()
        assert not torch.equal(vit(IMAGES)[0], vit(IMAGES)[0])
        vit.prompt.dropout.eval()
        seen = []
        vit.prompt.register_forward_hook(lambda *args: seen.append(1))
        vit(IMAGES)
    assert len(seen) == 3


def test_autocast_keeps_its_own():
    vit = build(prompt=DEEP).float().eval()
    with torch.no_grad():
        plain = vit(IMAGES.float())[0]
        with torch.autocast('cpu', torch.bfloat16):
            low = vit(IMAGES.float())[0]
        assert torch.equal(vit(IMAGES.float())[0], plain)
        with torch.autocast('cpu', torch.bfloat16):
            assert torch.equal(vit(IMAGES.float())[0], low)
    assert not torch.equal(low, plain)


def test_training_forgets_and_nothing_is_saved():
    vit = build(prompt=DEEP).eval()
    names = set(vit.state_dict())
    with torch.no_grad():
        out = vit(IMAGES)[0]
    assert vit.static_prompts.num_bytes == 8 * 24 * 4 * (2 + 2 + 1)
    assert set(vit.state_dict()) == names
    clone, file = copy.deepcopy(vit), io.BytesIO()
    torch.save(vit, file)
    pickled = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    assert len(pickle.dumps(vit.static_prompts)) < 200
    for other in (clone, pickled):
        assert len(other.static_prompts) == 0
        with torch.no_grad():
            other.prompt.tokens.mul_(1)
            assert torch.equal(other(IMAGES)[0], out)
    vit.train()
    assert len(vit.static_prompts) == 0
    with torch.no_grad():
        vit(IMAGES)
    assert len(vit.static_prompts) == 0


def test_compiled_without_graph_breaks():
    vit = build(prompt=DEEP).eval()
    compiled = torch.compile(vit, backend='eager', fullgraph=True)
    with torch.no_grad():
        first = vit(IMAGES)
        torch.testing.assert_close(compiled(IMAGES), first, rtol=0, atol=1e-10)
        vit.prompt.tokens.mul_(2)
        torch.testing.assert_close(compiled(IMAGES), vit(IMAGES), rtol=0, atol=1e-10)
