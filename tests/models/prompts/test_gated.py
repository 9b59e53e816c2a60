# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Gated Prompt Tuning: the authors' figures, the paper's equations, switches."""

import json
import math

import pytest
import torch

from mmvpt.models.prompts import GatedPrompt
from mmvpt.models.prompts.gated import selection_ratio
from mmvpt.models.vit import PromptedVisionTransformer
from tests.models.golden import DATA, TIMM_TO_MMPRETRAIN, golden_backbone, load_golden
from tests.models.naive import naive_layer

GOLDEN = load_golden('gated_golden')
NAMES = dict(tokens='prompt_embeddings', gate_logits='gate_logit', temperatures='temp')
POOLINGS = {
    'img_pool': dict(pooling='patches', norm_before_pool=False),
    'prompt_pool': dict(pooling='prompts', norm_before_pool=False),
    'imgprompt_pool': dict(pooling='prompts_and_patches', norm_before_pool=False),
    'moco': dict(pooling='cls'),
    'mae': dict(pooling='prompts_and_patches', norm_before_pool=False),
}
TINY = dict(embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=48)


def build(variant, **changes):
    """Build the backbone of a golden variant with its parameters, before the clamp."""
    family, switch, *pool = variant.split('_', 2)
    pooling = ''.join(pool) if variant.endswith('pool') else family
    prompt = dict(
        type='GatedPrompt',
        num_tokens=5,
        gates='soft' if switch in ('on', 'gate') else False,
        temperatures=switch in ('on', 'temp'),
    )
    options = POOLINGS[pooling]
    vit = golden_backbone(GOLDEN, prompt=prompt, **{**options, **changes})
    for name, parameter in vit.prompt.named_parameters():
        group = 'prompt'
        if name == 'temperatures' and 'low_temp' in variant:
            group = 'prompt_low'
        parameter.data = GOLDEN[f'{group}/{NAMES[name]}'].reshape(parameter.shape)
    return vit


@pytest.mark.parametrize('variant', GOLDEN['meta']['variants'])
def test_golden_features_and_gradients(variant):
    vit = build(variant)
    feature = vit(GOLDEN['images'])[0]
    torch.testing.assert_close(
        feature, GOLDEN[f'{variant}/feature'], rtol=0, atol=1e-10
    )
    parameters = dict(vit.prompt.named_parameters())
    if f'{variant}/temp_after' in GOLDEN:
        assert torch.equal(parameters['temperatures'], GOLDEN[f'{variant}/temp_after'])
    cosine = torch.cos(0.5 * torch.arange(48.0).double())
    for kind, loss in {
        'grad': feature.square().sum(),
        'grad_cos': (feature * cosine).sum(),
    }.items():
        grads = torch.autograd.grad(loss, parameters.values(), retain_graph=True)
        for name, grad in zip(parameters, grads):
            expected = GOLDEN[f'{variant}/{kind}/{NAMES[name]}'].reshape(grad.shape)
            top = float(expected.abs().max())
            torch.testing.assert_close(grad, expected, rtol=1e-8, atol=1e-8 * top)


@pytest.mark.parametrize(
    'variant', [n.split('/')[0] for n in GOLDEN if n.endswith('/tokens')]
)
def test_golden_tokens_and_prompts(variant):
    # Pooling does not change them, so the file holds them once.
    vit = build(variant, out_type='raw', pooling=None, final_norm=False)
    entering = []
    vit.prompt.register_forward_hook(lambda m, args, out: entering.append(out))
    tokens = vit(GOLDEN['images'])[0]
    torch.testing.assert_close(tokens, GOLDEN[f'{variant}/tokens'], rtol=0, atol=1e-10)
    for i, got in enumerate(entering):
        expected = GOLDEN[f'{variant}/prompts_block{i}']
        got = got.expand_as(expected)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def formula_backbone(gates, **options):
    """Build the model that specs fill by a formula of parameter names."""
    dims = 48
    vit = PromptedVisionTransformer(
        arch=dict(
            embed_dims=dims, num_layers=4, num_heads=3, feedforward_channels=4 * dims
        ),
        img_size=32,
        prompt=dict(
            type='GatedPrompt',
            num_tokens=5,
            gates='soft' if gates else False,
            temperatures=gates,
        ),
        **options,
    ).double()
    for name, parameter in vit.named_parameters():
        timm = name.replace('prompt.tokens', 'prompt_embeddings')
        timm = 'norm' + timm[3:] if timm.startswith('ln1.') else timm
        for old, new in reversed(TIMM_TO_MMPRETRAIN):
            timm = timm.replace(new, old)
        offset = 1.0 if 'norm' in timm and timm.endswith('weight') else 0.0
        scale = 0.1 if parameter.dim() == 1 else 0.2
        if timm.endswith('qkv.weight'):
            scale = 0.5
        j = torch.arange(parameter.numel(), dtype=torch.float64)
        values = offset + scale * torch.sin(0.37 * j + sum(map(ord, timm)))
        parameter.data = values.reshape(parameter.shape)
    if gates:
        vit.prompt.gate_logits.data = torch.tensor([-1, 0.5, 2]).double()
        vit.prompt.temperatures.data = torch.tensor([0.5, 1, 2, 12]).double()
    return vit.eval()


@pytest.mark.parametrize('name', ['mae_mean_pool', 'moco_cls'])
def test_formula_filled_model(name):
    expected = json.loads((DATA / 'gated_formula.json').read_text())[name]
    images = 2 * torch.cos(0.11 * torch.arange(2 * 3 * 32 * 32).double())
    images = images.reshape(2, 3, 32, 32)
    own = POOLINGS['mae' if name.startswith('mae') else 'moco']

    vit = formula_backbone(True, **own)
    feature = vit(images)[0]
    loss = (feature * torch.cos(0.5 * torch.arange(48.0).double())).sum()
    loss.backward()
    prompt = vit.prompt
    computed = {
        'features': feature,
        'loss': loss,
        'd_gate': prompt.gate_logits.grad,
        'd_temp': prompt.temperatures.grad,
        'd_prompt': prompt.tokens.grad,
        'features_vpt_shallow': formula_backbone(False, **own)(images)[0],
        'features_img_pool': formula_backbone(True, **POOLINGS['img_pool'])(images)[0],
        'features_prompt_pool': formula_backbone(True, **POOLINGS['prompt_pool'])(
            images
        )[0],
    }
    assert set(computed) == set(expected)
    for key, value in computed.items():
        want = torch.tensor(expected[key], dtype=torch.float64)
        torch.testing.assert_close(value.detach(), want, rtol=1e-8, atol=1e-9)


def tiny(num_layers=3, pooling='prompts_and_patches', **prompt):
    torch.manual_seed(0)
    vit = PromptedVisionTransformer(
        arch=dict(TINY, num_layers=num_layers),
        img_size=32,
        patch_size=8,
        pooling=pooling,
        norm_before_pool=False,
        prompt=dict(dict(type='GatedPrompt', num_tokens=3, drop_rate=0.0), **prompt),
    ).double()
    for parameter in vit.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return vit


def images(count=2):
    return torch.randn(count, 3, 32, 32, dtype=torch.float64)


def test_literal_equations():
    vit, x = tiny(num_layers=4, gate_init=0.5), images()
    prompt = vit.prompt
    tokens, _ = vit.embed(x)
    cls, patches = tokens[:, :1], tokens[:, 1:]
    z = prompt.tokens.expand(2, -1, -1)
    for i, layer in enumerate(vit.layers):
        inside = torch.cat([cls, z, patches], dim=1)
        out, _ = naive_layer(layer, inside, temperature=prompt.temperatures[i])
        cls, new, patches = out[:, :1], out[:, 1:4], out[:, 4:]
        if i < 3:
            gate = 1 / (1 + torch.exp(-prompt.gate_logits[i]))
            new = gate * new + (1 - gate) * z
        z = new
    expected = vit.ln1(torch.cat([z, patches], dim=1).mean(1))
    torch.testing.assert_close(vit(x)[0], expected, rtol=0, atol=1e-12)


def test_unrolled_gates():
    vit = tiny(num_layers=5)
    logits = vit.prompt.gate_logits.data = torch.randn(4, dtype=torch.float64)
    entered, left = [], []

    def listen(module, args, kwargs, out):
        entered.append(out)
        left.append(kwargs['left'])

    vit.prompt.register_forward_hook(listen, with_kwargs=True)
    vit(images())
    gates = logits.sigmoid()
    weights = [gates[k] * (1 - gates[k + 1 :]).prod() for k in range(4)]
    first = (1 - gates).prod()
    assert float(first + sum(weights)) == pytest.approx(1)
    closed = first * entered[0] + sum(w * z for w, z in zip(weights, left[1:]))
    torch.testing.assert_close(entered[-1], closed, rtol=0, atol=1e-12)
    expected = torch.stack(weights) / sum(weights)
    torch.testing.assert_close(vit.prompt.selection_ratio(), expected)


def test_selection_ratio_of_nearly_closed_gates():
    ratio = selection_ratio(torch.full((11,), -40.0))
    torch.testing.assert_close(ratio, torch.full((11,), 1 / 11))
    assert selection_ratio(torch.tensor([0.0, 1000.0])).tolist() == [0, 1]


def test_open_gates_are_vpt_shallow_and_closed_ones_repeat_the_prompt():
    x, vit = images(), tiny()
    shallow = tiny(type='ShallowPrompt')
    shallow.load_state_dict(vit.state_dict(), strict=False)
    vit.prompt.temperatures.data.fill_(1)
    vit.prompt.gate_logits.data.fill_(100)
    assert torch.equal(vit(x)[0], shallow(x)[0])
    plain = tiny(gates=False, temperatures=False)
    plain.load_state_dict(vit.state_dict(), strict=False)
    assert torch.equal(plain(x)[0], shallow(x)[0])

    vit.prompt.gate_logits.data.fill_(-1000)
    entered = []
    vit.prompt.register_forward_hook(lambda m, args, out: entered.append(out))
    vit(x)
    for prompts in entered:
        assert torch.equal(
            prompts.expand(2, -1, -1), vit.prompt.tokens.expand(2, -1, -1)
        )


def test_what_a_gate_reaches():
    """The gate after layer l changes layers behind it, and nothing of layer l."""
    x, vit = images(), tiny(num_layers=4)
    seen = [[], []]
    for record in seen:
        hook = vit.prompt.register_forward_hook(
            lambda m, args, out, record=record: record.append((args[1], out))
        )
        vit(x)
        hook.remove()
        vit.prompt.gate_logits.data[2] += 1
    for i, ((patches, prompts), (other, others)) in enumerate(zip(*seen)):
        assert torch.equal(patches, other)
        assert torch.equal(prompts, others) == (i < 3)


def test_initialisation_and_counts():
    host = dict(embed_dims=768, num_layers=12, patch_grid=(14, 14), patch_size=16)
    prompt = GatedPrompt(100, **host)
    assert 0.0620 < prompt.tokens.abs().max() <= 0.0625
    assert prompt.tokens.std().item() == pytest.approx(0.03608, rel=0.02)
    assert prompt.gate_logits.tolist() == [-5.0] * 11
    assert prompt.temperatures.tolist() == [1.0] * 12
    assert prompt.gate(0).item() == pytest.approx(0.00669285, rel=1e-5)
    for num_tokens, classes, total in ((100, 200, 230623), (1, 100, 77691)):
        prompt = GatedPrompt(num_tokens, **host)
        count = sum(p.numel() for p in prompt.parameters()) + 769 * classes
        assert count == total == 768 * num_tokens + 769 * classes + 23
    large = GatedPrompt(1, **dict(host, embed_dims=1024, num_layers=24))
    assert large.gate_logits.shape == (23,) and large.temperatures.shape == (24,)


def test_frozen_encoder_of_vit_base_is_counted_as_in_the_release():
    with torch.device('meta'):
        vit = PromptedVisionTransformer(prompt=dict(type='GatedPrompt', num_tokens=100))
    tuned = sum(p.numel() for p in vit.parameters() if p.requires_grad)
    assert tuned == 768 * 100 + 23
    assert sum(p.numel() for p in vit.parameters()) - tuned == 85_798_656


def test_temperatures_are_clamped_in_place_and_keep_their_gradient():
    vit = tiny().eval()
    vit.prompt.temperatures.data = torch.tensor([-0.5, 1, 12]).double()
    with torch.no_grad():
        vit(images())
    torch.testing.assert_close(
        vit.prompt.temperatures.data, torch.tensor([0.01, 1, 10]).double()
    )
    vit.prompt.temperatures.data[2] = 12
    first = vit(images())[0].sum()
    vit(images())  # a second forward does not spoil the backward of the first
    first.backward()
    assert vit.prompt.temperatures.grad.abs().min() > 0
    vit = tiny(temperature_range=(0.5, 2))
    vit.prompt.temperatures.data = torch.tensor([0.1, 1, 12]).double()
    vit(images())
    assert vit.prompt.temperatures.tolist() == [0.5, 1, 2]


def test_compiled_training_clamps_temperatures_too():
    torch._dynamo.reset()
    ways = []
    for compiled in (True, False):
        vit, x = tiny(num_layers=2).train(), torch.ones(1, 3, 32, 32).double()
        vit.prompt.temperatures.data = torch.tensor([-0.5, 12]).double()
        run = torch.compile(vit, backend='eager', fullgraph=True) if compiled else vit
        feature = run(x)[0]
        feature.square().sum().backward()
        found = {n: (p.data, p.grad) for n, p in vit.prompt.named_parameters()}
        assert vit.prompt.temperatures.tolist() == [0.01, 10]
        ways.append((feature, found))
    torch.testing.assert_close(*ways, rtol=1e-8, atol=1e-10)


def test_dropped_prompts_are_carried_through_the_gates():
    vit = tiny(num_tokens=50, drop_rate=0.5, gate_init=1000).train()
    entered = []
    vit.prompt.register_forward_hook(lambda m, args, out: entered.append(out))
    vit(images())
    mask = entered[0] == 0
    assert 0.4 < mask.double().mean() < 0.6
    assert not torch.equal(mask[0], mask[1])
    assert torch.equal(entered[1], entered[0]) and torch.equal(entered[2], entered[0])
    assert vit.eval().prompt(0, torch.zeros(2, 16, 24), (4, 4)).shape == (1, 50, 24)


def test_order_of_prompts_does_not_matter():
    x, vit = images(), tiny()
    before = vit(x)[0]
    vit.prompt.tokens.data = vit.prompt.tokens.data[[2, 0, 1]]
    torch.testing.assert_close(vit(x)[0], before, rtol=0, atol=1e-12)


def test_hard_gates():
    host = dict(embed_dims=8, num_layers=3, patch_grid=(2, 2), patch_size=8)
    prompt = GatedPrompt(2, gates='hard', gate_init=-1.0, **host).double()
    prompt.gate_logits.data[1] = -0.5
    assert [float(prompt.eval().gate(i)) for i in range(2)] == [1.0, 0.0]
    torch.manual_seed(0)
    draws = torch.stack([prompt.train().gate(0) for _ in range(4000)])
    assert set(draws.tolist()) == {0.0, 1.0}
    # Gumbel-sigmoid is open with probability sigmoid(logit).
    assert draws.mean().item() == pytest.approx(1 / (1 + math.exp(-1)), abs=0.02)
    draws.sum().backward()
    assert prompt.gate_logits.grad[0] > 0
    assert prompt.gate_logits.grad[1] == 0
    torch.testing.assert_close(
        prompt.selection_ratio(), selection_ratio(prompt.gate_logits)
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_tokens=0), 'num_tokens must be an integer of at least 1, got 0'),
        (dict(gates='medium'), "'soft', 'hard' or False, got 'medium'"),
        (dict(gates=True), 'got True'),
        (dict(temperature_range=(0, 10)), 'temperature_range must be .* got'),
        (dict(temperature_range=(2, 1)), 'temperature_range must be .* got'),
        (dict(drop_rate=1.0), r'drop_rate must be in \[0, 1\), got 1.0'),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_no_gates_no_ratio():
    with pytest.raises(ValueError, match='gates=False has no selection ratio'):
        tiny(gates=False).prompt.selection_ratio()


@pytest.mark.parametrize('name', ['gate_logits', 'temperatures'])
def test_checkpoint_of_another_depth_is_refused(name):
    vit = tiny()
    state = {f'prompt.{name}': torch.zeros(11 if name == 'gate_logits' else 12)}
    with pytest.raises(ValueError, match=f'prompt.{name} is .* in the checkpoint'):
        vit.load_state_dict(state, strict=False)


def test_backbone_that_ends_early_is_refused():
    with pytest.raises(ValueError, match='never get a gradient'):
        PromptedVisionTransformer(
            TINY, prompt=dict(type='GatedPrompt', num_tokens=1), out_indices=1
        )
