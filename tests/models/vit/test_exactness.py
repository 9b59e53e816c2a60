# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Fast ways against the plain one, outputs and gradients: what the contract leaves.

Hosts, what trains besides prompts, options of methods, guidance, evaluation, dropout.
"""

import itertools

import pytest
import torch

from mmvpt.errors import UserError
from mmvpt.models.vit.blocks import Attention
from mmvpt.models.vit.layer import OPERANDS
from tests.models.exact import assert_same, drawn
from tests.models.naive import naive_forward
from tests.models.prompted import (
    INPUTS,
    OUTPUTS,
    PROMPT_CONFIGS,
    WITH_OUTPUT,
    build,
)
from tests.quick import in_turn

HOSTS = {
    'layer scale': dict(layer_scale_init_value=0.1),
    'norm before the layers': dict(pre_norm=True),
    'no bias': dict(qkv_bias=False),
    'all of it': dict(layer_scale_init_value=0.1, pre_norm=True, qkv_bias=False),
    'no class token': dict(with_cls_token=False),
}
EVERY = (*PROMPT_CONFIGS, None)
TUNABLES = ('full', 'partial-1', 'norm', 'bias', 'davpt+', 'layers.*.attn.qkv.weight')
ADAPTIVE = {
    'two static layers': dict(static_layers=2),
    'kernel for each channel': dict(shared_kernel=False, padding=1),
    'no convolution': dict(kernel_size=None),
    'no projector': dict(bottleneck=None),
    'projectors': dict(shared_projector=False, learnable_scale=True, activation='gelu'),
}
VARIANTS = {
    'shallow, projected': ('shallow', dict(project_dims=10)),
    'deep, two layers': ('deep', dict(layers=[0, 2])),
    **{
        f'gated, {gates}, temperatures {temperatures}': (
            'gated',
            dict(gates=gates, gate_init=0, temperatures=temperatures),
        )
        for gates, temperatures in itertools.product(
            ('soft', 'hard', False), (True, False)
        )
    },
    **{f'adaptive, {key}': ('adaptive', changes) for key, changes in ADAPTIVE.items()},
    **{
        f'guided, {normalize}, mask {mask}': (
            'distribution-aware',
            dict(normalize=normalize, mask=mask),
        )
        for normalize, mask in itertools.product(('none', 'l2', 'layer'), (True, False))
    },
    'guided, all': ('distribution-aware', dict(guided_layers='all')),
    'guided, no others': ('distribution-aware', dict(num_tokens=0)),
}
#: What a metric loss may read: everything, the paper's, the released code's, and
#: operands that ask for rows which nobody else reads.
READS = (
    (*OPERANDS, 'prompt'),
    ('output', 'prompt_query', 'cls_query'),
    ('patch', 'cls_query', 'prompt'),
    ('output_patch',),
    ('patches_key', 'prompt_key'),
)


def batch(size=(32, 32, 2)):
    generator = torch.Generator().manual_seed(1)
    height, width, count = size
    return torch.randn(
        count, 3, height, width, generator=generator, dtype=torch.float64
    )


def check(vit, images):
    """Compare with the plain way, both with the same draws."""
    assert_same(vit, drawn(vit, images), drawn(naive_forward, vit, images))


def meets_tokens(vit):
    """Tell whether the last layer's one query may meet tokens in place of keys."""
    prompt, last = vit.prompt, vit.num_layers - 1
    return prompt is None or not (
        prompt.companion or prompt.extra_key_values(last) is not None
    )


@pytest.fixture
def shortcuts(monkeypatch):
    """Count layers in which the query of CLS met the tokens themselves."""
    calls = []

    def attend_once(*args, **kwargs):
        calls.append(1)
        return original(*args, **kwargs)

    original = Attention.attend_once
    monkeypatch.setattr(Attention, 'attend_once', attend_once)
    return calls


@pytest.mark.parametrize(('name', 'tunable'), in_turn(EVERY, TUNABLES))
def test_gradients_of_what_trains_where_cls_alone_is_read(name, tunable, shortcuts):
    vit = build(name, tunable=tunable).double().train()
    check(vit, batch())
    assert len(shortcuts) == meets_tokens(vit)


@pytest.mark.parametrize(
    ('name', 'host'), in_turn(EVERY, HOSTS, ('spatial', 'no class token'))
)
def test_hosts(name, host):
    outputs = [{}, dict(pooling='patches', norm_before_pool=False)]
    if host == 'no class token' and name == 'spatial':
        with pytest.raises(UserError, match='needs a host with a class token'):
            build(name, **HOSTS[host], out_type='raw')
        return
    if host == 'no class token':
        outputs = [dict(out_type='featmap', out_indices=(0, 2)), dict(out_type='raw')]
        outputs.append(dict(out_type='avg_featmap'))
    for output in outputs:
        vit = build(name, tunable='full', **HOSTS[host], **output).double().train()
        check(vit, batch((48, 40, 2)))


@pytest.mark.parametrize('variant', VARIANTS)
def test_options_of_methods(variant):
    """In training, with the draws of hard gates, and in evaluation."""
    name, changes = VARIANTS[variant]
    for k, output in enumerate(OUTPUTS):
        vit = build(name, prompt=changes, **output).double()
        check(vit.train(k % 2 == 0), batch(INPUTS[k % 3]))


@pytest.mark.parametrize('mask', [True, False])
@pytest.mark.parametrize('reads', READS, ids=lambda reads: f'{reads[0]}-{len(reads)}')
def test_guided(reads, mask):
    """Outputs and operands, and gradients through both at once."""
    for k, output in enumerate(OUTPUTS):
        vit = build(
            'distribution-aware',
            prompt=dict(mask=mask, guided_layers=[0, 2], drop_rate=0.3),
            tunable='davpt-released',
            with_cp=(False, True, 'mlp')[(k + len(reads)) % 3],
            **output,
        )
        vit.double().train().guide.reads = reads
        fast, plain, images = [], [], batch(INPUTS[k % 3])
        vit.guide.register_forward_hook(
            lambda m, args, out, fast=fast: fast.append(args)
        )
        outs = [drawn(vit, images), drawn(naive_forward, vit, images, plain)]
        assert [i for i, _ in fast] == [i for i, _ in plain] == [0, 2]
        read = [
            [record[key] for _, record in records for key in reads]
            for records in (fast, plain)
        ]
        assert_same(vit, [*outs[0], *read[0]], [*outs[1], *read[1]])


@pytest.mark.parametrize('name', EVERY)
def test_evaluation_without_gradients(name):
    """The second time static prompts are known."""
    outputs = [output for other, output in WITH_OUTPUT if other == name]
    outputs = outputs or [{}, dict(pooling='patches')]
    for k, output in enumerate(outputs):
        vit = build(name, tunable='davpt+', **output).double().eval()
        images = batch(INPUTS[k % 3])
        with torch.no_grad():
            plain = naive_forward(vit, images)
            for _ in range(2):
                for a, b in zip(vit(images), plain):
                    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize('name', PROMPT_CONFIGS)
def test_dropped_attention_takes_no_shortcut(name, shortcuts):
    options = dict(layer_cfgs=dict(attn_drop_rate=0.5))
    vit = build(name, tunable='full', **options).double().train()
    vit(batch())
    assert not shortcuts
    check(vit.eval(), batch())
    with torch.no_grad():
        vit(batch())
    # Frozen layers drop nothing while prompts train.
    check(build(name, **options).double().train(), batch())
    assert len(shortcuts) == 3 * meets_tokens(vit)


@pytest.mark.parametrize(
    'options',
    [
        dict(layer_cfgs=dict(attn_drop_rate=0.3)),
        dict(layer_cfgs=dict(drop_rate=0.3)),
        dict(drop_path_rate=0.6),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ('name', 'output'),
    [
        ('deep', dict(pooling='cls')),
        ('gated', dict(pooling='prompts_and_patches', norm_before_pool=False)),
        ('distribution-aware', dict(pooling='prompts')),
    ],
)
def test_dropout_of_layers_has_the_same_distribution(name, output, options):
    """Means and variances over one image many times, each with draws of its own."""
    count = 4096
    arch = dict(embed_dims=8, num_layers=3, num_heads=2, feedforward_channels=16)
    vit = build(
        name, arch=arch, img_size=16, tunable='full', **options, **output
    ).train()
    images = batch((16, 16, 1)).float().expand(count, -1, -1, -1)
    found = []
    with torch.no_grad():
        for seed, way in enumerate((vit, lambda x: naive_forward(vit, x))):
            torch.manual_seed(seed)
            x = way(images)[0].double()
            squares = (x - x.mean(0)).square()
            assert squares.mean() > 1e-4
            moments = torch.stack([x, squares])
            found.append((moments.mean(1), moments.var(1) / count))
    (fast, error), (plain, other) = found
    assert ((fast - plain) / (error + other).sqrt()).abs().max() < 4
