# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What every method and baseline must do on every family."""

import copy

import pytest
import torch

from mmvpt.models.tunable import tuned_names, tuned_state
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.models.vit.prefix_cache import (
    PrefixCache,
    cacheable_layers,
    prefix_fingerprint,
)
from mmvpt.models.vit.serving import run_mixed
from mmvpt.weights.families import FAMILIES
from tests.models.exact import assert_same, drawn
from tests.models.naive import naive_forward
from tests.models.prompted import PROMPT_CONFIGS
from tests.models.vit.test_families import small
from tests.models.vit.test_mixed_batch import share
from tests.models.vit.test_vit import DEEP
from tests.quick import in_turn

OTHERS = [family for family in FAMILIES if family != 'vit']
every_family = pytest.mark.parametrize('family', OTHERS)
ADAPTERS = (
    dict(type='LoRA', rank=2),
    dict(type='AdapterPlus', rank=2),
    dict(type='SSF'),
)


def images(size=(32, 32), count=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, *size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ('name', 'family'), in_turn(PROMPT_CONFIGS, OTHERS, ('spatial', 'siglip'))
)
def test_every_method_equals_the_full_token_way(name, family):
    """Outputs and gradients; frozen weights get none."""
    if name == 'spatial' and not FAMILIES[family].with_cls_token:
        with pytest.raises(ValueError, match='needs a host with a class token'):
            small(family, prompt=PROMPT_CONFIGS[name])
        return
    for output in (dict(), dict(out_type='featmap')):
        vit = small(family, prompt=PROMPT_CONFIGS[name], **output).train()
        outs = drawn(vit, images((48, 40)))[:1]
        assert_same(vit, outs, drawn(naive_forward, vit, images((48, 40))))
        assert all(n.startswith('prompt.') for n in tuned_names(vit))


@every_family
@pytest.mark.parametrize('adapter', ADAPTERS, ids=lambda adapter: adapter['type'])
def test_every_adapter_equals_the_full_token_way(adapter, family):
    for prompt in (None, DEEP):
        vit = small(family, adapter=adapter, prompt=prompt).train()
        assert_same(vit, vit(images()), naive_forward(vit, images()))
        assert all('.adapter.' in n or n[:6] == 'prompt' for n in tuned_names(vit))


@every_family
def test_every_preset_trains_what_it_names(family):
    facts = FAMILIES[family]
    presets = ['bias', 'norm', 'partial-1', 'full']
    presets += ['cls', 'davpt+'] * facts.with_cls_token
    if facts.pre_norm:  # whose patches have no bias
        with pytest.raises(ValueError, match='patch_embed.projection.bias.* matches'):
            small(family, tunable='davpt-released')
    else:
        presets += ['davpt-released'] * facts.with_cls_token
    for preset in presets:
        vit = small(family, tunable=preset).train()
        vit(images())[0].square().sum().backward()
        tuned = set(tuned_names(vit))
        assert tuned == {n for n, p in vit.named_parameters() if p.grad is not None}
    pools = [
        n for n in tuned_names(small(family, tunable='partial-1')) if n[:4] == 'pool'
    ]
    assert len(pools) == (13 if FAMILIES[family].pooling == 'map' else 0)


#: A prompt that is shared, one of the image's own, a guided one with tuned biases; and
#: an adapter beside prompts.
METHODS = {
    'deep': dict(prompt=DEEP),
    'adaptive': dict(prompt=PROMPT_CONFIGS['adaptive']),
    'davpt+': dict(
        prompt=PROMPT_CONFIGS['distribution-aware'],
        tunable=[f'layers.*.attn.qkv.bias.{part}' for part in ('key', 'value')],
    ),
    'lora': dict(prompt=DEEP, adapter=dict(type='LoRA', rank=2)),
}


@pytest.mark.parametrize(('family', 'method'), in_turn(FAMILIES, METHODS))
def test_what_is_tuned_moves_and_travels_alone(family, method):
    """A step with decay, in mixed precision; then its file on other prompts."""
    vit = small(family, **METHODS[method]).float().train()
    before = copy.deepcopy(vit.state_dict())
    tuned = {n: p for n, p in vit.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(tuned.values(), lr=0.01, weight_decay=0.1)
    batch = images().float()
    exact = vit.eval()(batch)[0]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = vit.train()(batch)[0]
    error = (out.float() - exact).norm() / exact.norm()
    assert error < 0.05
    out.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in tuned.values())
    assert all(p.grad is None for n, p in vit.named_parameters() if n not in tuned)
    optimizer.step()
    for name, value in vit.state_dict().items():
        if name not in tuned:
            assert torch.equal(value, before[name]), name
    state = tuned_state(vit, vit.state_dict())
    assert set(tuned) <= set(state)
    assert not {n for n, p in vit.named_parameters() if n not in tuned} & set(state)
    other = small(family, **METHODS[method]).float()
    other.load_state_dict(before)
    other.load_state_dict(state, strict=False)
    with torch.no_grad():
        assert torch.equal(other.eval()(batch)[0], vit.eval()(batch)[0])


@every_family
@torch.no_grad()
def test_static_prompts_are_the_same_at_every_size(family):
    """What attention sees of them holds neither the grid nor the image."""
    vit = small(family, prompt=DEEP).eval()
    first = [vit(images(size))[0] for size in ((32, 32), (48, 40))]
    vit.static_prompts.clear()
    again = [vit(images(size))[0] for size in ((48, 40), (32, 32))]
    for kept, fresh in zip(first, reversed(again)):
        torch.testing.assert_close(kept, fresh, rtol=0, atol=0)


@every_family
@torch.no_grad()
def test_prefix_cache(family, tmp_path):
    vit = small(family, prompt=dict(DEEP, layers=[2])).eval()
    plain = copy.deepcopy(vit)
    vit.prefix_cache = PrefixCache(tmp_path, cacheable_layers(vit), 10**8)
    for _ in range(2):
        torch.testing.assert_close(
            vit(images((48, 40))), plain(images((48, 40))), rtol=0, atol=1e-10
        )
    assert (vit.prefix_cache.hits, vit.prefix_cache.misses) == (2, 2)
    vit.prefix_cache.close()


def test_what_decides_on_a_prefix_is_in_its_fingerprint():
    """Registers, frequencies, resizing, eps and activation."""
    first = small('dinov3').eval()
    changed = [small('dinov3', rope_dtype='bfloat16')]
    changed += [small('dinov3', norm_cfg=dict(type='LN', eps=1e-6))]
    changed += [small('dinov3', act='gelu_tanh'), copy.deepcopy(first)]
    with torch.no_grad():
        changed[-1].reg_tokens[0, 0, 0] += 1
    prints = {prefix_fingerprint(vit.eval(), 2) for vit in (first, *changed)}
    resized = [small('siglip'), small('siglip', interpolate_mode='bilinear-antialias')]
    prints |= {prefix_fingerprint(vit.eval(), 2) for vit in resized}
    assert len(prints) == 5 + 2


@every_family
@torch.no_grad()
def test_mixed_batches(family):
    tasks = [dict(prompt=DEEP), dict(prompt=dict(DEEP, num_tokens=7)), {}]
    vits = share([small(family, **task) for task in tasks])
    batches = [images((48, 40), count) for count in (1, 2, 1)]
    for outs, vit, batch in zip(run_mixed(vits, batches), vits, batches):
        torch.testing.assert_close(outs, vit(batch), rtol=0, atol=1e-10)


@every_family
@torch.no_grad()
def test_graphs_for_any_number_of_images(family):
    vit = small(family, prompt=DEEP).eval()
    batch = torch.export.Dim('batch', min=1, max=64)
    program = torch.export.export(
        vit, (images((32, 32), 2),), dynamic_shapes=({0: batch},), strict=False
    )
    for count in (1, 3):
        found = program.module()(images((32, 32), count))
        torch.testing.assert_close(
            found, vit(images((32, 32), count)), rtol=0, atol=1e-10
        )


@pytest.mark.parametrize('family', ['dinov3', 'eva02-clip', 'siglip'])
def test_compiles_without_graph_breaks(family):
    torch._dynamo.reset()
    vit = small(family, prompt=DEEP).train()
    compiled = torch.compile(vit, backend='eager', fullgraph=True)
    assert_same(vit, compiled(images()), vit(images()))


def test_a_family_is_one_row(monkeypatch):
    """A row of the table is all that a family of known pieces needs."""
    row = FAMILIES['dinov3']._replace(num_registers=2, act='swiglu_norm', norm_eps=1e-4)
    monkeypatch.setitem(FAMILIES, 'another', row)
    vit = small('another', prompt=DEEP).train()
    assert vit.num_extra_tokens == 3 and vit.layers[0].ffn.norm.eps == 1e-4
    vit.family = 'dinov3'  # whose angles the plain way knows
    assert_same(vit, vit(images((48, 40))), naive_forward(vit, images((48, 40))))
    assert isinstance(vit, PromptedVisionTransformer)
