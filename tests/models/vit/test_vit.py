# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The backbone against mmpretrain's ViT and against the plain full-token way."""

import contextlib
import copy
import itertools

import pytest
import torch
from mmpretrain.models.backbones import VisionTransformer
from torch import nn

from mmvpt.models.prompts import BasePrompt
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.models.vit.layer import OPERANDS
from mmvpt.registry import PROMPTS
from tests.models.exact import assert_same
from tests.models.naive import naive_forward

ARCH = dict(embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=48)


def randomize(module, seed=0):
    """Draw every parameter, so that nothing is trivially zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        scale = 0.3 if parameter.dim() > 1 else 0.1
        base = 1.0 if name.endswith('.weight') and parameter.dim() == 1 else 0.0
        parameter.data = (base + scale * noise).to(parameter.dtype)
    return module


def build(**kwargs):
    kwargs = dict(dict(arch=ARCH, img_size=32, patch_size=8), **kwargs)
    return randomize(PromptedVisionTransformer(**kwargs).double())


@PROMPTS.register_module(force=True)
class EveryTrickPrompt(BasePrompt):
    """Uses all of the contract: outputs kept, temperature, mask, per-image prompts."""

    keeps_outputs = True

    def __init__(self, mask=False, num_tokens=3, **host):
        super().__init__(**host)
        self.mask = mask
        self.tokens = nn.Parameter(torch.randn(num_tokens, self.embed_dims))
        self.tau = nn.Parameter(torch.ones(self.num_layers))

    def forward(self, i, patches, grid, entered=None, left=None):
        if i == 0:
            return self.tokens[None]
        return 0.5 * left + 0.25 * entered + patches.mean(1, keepdim=True)

    def temperature(self, i):
        return self.tau[i]


@PROMPTS.register_module(force=True)
class GuidedPrompt(BasePrompt):
    """Deep prompts with every layer guided."""

    def __init__(self, mask=False, num_tokens=3, **host):
        super().__init__(**host)
        self.mask = mask
        self.guided_layers = tuple(range(self.num_layers))
        self.tokens = nn.Parameter(torch.randn(self.num_layers, 3, self.embed_dims))

    def forward(self, i, patches, grid, entered=None, left=None):
        return self.tokens[i][None]

    def proxies(self, i):
        return self.tokens[i]


DEEP = dict(type='DeepPrompt', num_tokens=4)
SHALLOW = dict(type='mmvpt.ShallowPrompt', num_tokens=4)
TRICKS = dict(type='EveryTrickPrompt')
MASKED = dict(type='EveryTrickPrompt', mask=True)
GUIDED_MASK = dict(type='GuidedPrompt', mask=True)

OUTPUTS = [
    dict(pooling='cls'),
    dict(pooling='patches'),
    dict(pooling='patches', norm_before_pool=False),
    dict(pooling='prompts'),
    dict(pooling='prompts', norm_before_pool=False),
    dict(pooling='prompts_and_patches'),
    dict(pooling='prompts_and_patches', norm_before_pool=False),
    dict(out_type='featmap', out_indices=(0, 1, -1)),
    dict(out_type='featmap', final_norm=False, out_indices=(1, 2)),
    dict(out_type='avg_featmap'),
    dict(out_type='raw', out_indices=[0, 2]),
    dict(pooling='prompts_and_patches', out_indices=(0, 2)),
]


@pytest.mark.parametrize('prompt', [DEEP, SHALLOW, TRICKS, MASKED, GUIDED_MASK])
@pytest.mark.parametrize('output', OUTPUTS, ids=str)
def test_equals_the_plain_full_token_way(prompt, output):
    vit = build(prompt=prompt, tunable=['bias', 'cls'], **output)
    for size in ((32, 32), (48, 40), (29, 37)):
        images = torch.randn(2, 3, *size, dtype=torch.float64)
        fast = vit(images)
        assert len(fast) == len(vit.out_indices)
        assert_same(vit, fast, naive_forward(vit, images))


EXTRAS = [
    {},
    dict(layer_scale_init_value=0.1),
    dict(pre_norm=True),
    dict(out_indices=[0, 1]),  # the final norm belongs to layer 2 alone
]


@pytest.mark.parametrize('extra', EXTRAS, ids=str)
@pytest.mark.parametrize('out_type', ['cls_token', 'featmap', 'avg_featmap', 'raw'])
def test_without_prompt_equals_mmpretrain(out_type, extra):
    options = dict(img_size=32, patch_size=8, out_type=out_type, **extra)
    ours = build(**options)
    host = VisionTransformer(arch=ARCH, **options).double()
    assert set(ours.state_dict()) == set(host.state_dict())
    host.load_state_dict(ours.state_dict())
    for size in ((32, 32), (48, 40), (30, 33)):
        images = torch.randn(2, 3, *size, dtype=torch.float64)
        torch.testing.assert_close(ours(images), host(images), rtol=0, atol=1e-12)


def test_without_class_token():
    options = dict(with_cls_token=False, out_type='featmap', prompt=DEEP)
    vit = build(**options)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(vit(images)[0], naive_forward(vit, images)[0])


@pytest.mark.parametrize('with_cp', [True, 'mlp'])
def test_activation_checkpointing_changes_nothing(with_cp):
    """But that layers, or their second halves, run again in backward, once each."""
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    grads, runs, kept = [], [], []
    for option in (False, with_cp):
        vit = build(prompt=DEEP, with_cp=option)
        count = []
        for part in (vit.layers[1].ln1, vit.layers[1].ln2):
            part.register_forward_hook(lambda m, *_, c=count: c.append(m))
        with kept_for_backward() as sizes:
            loss = vit(images)[0].sum()
        loss.backward()
        grads.append(vit.prompt.tokens.grad)
        runs.append([count.count(p) for p in (vit.layers[1].ln1, vit.layers[1].ln2)])
        kept.append(sum(sizes.values()))
    assert torch.equal(*grads)
    # ln1 normalises tokens and prompts, each on its own.
    assert runs == [[2, 1], [4, 2] if with_cp is True else [2, 2]]
    assert kept[1] < 0.75 * kept[0]


@contextlib.contextmanager
def kept_for_backward():
    """Collect the bytes of storages that autograd keeps, by address."""
    sizes, held = {}, []

    def pack(tensor):
        held.append(tensor)
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def test_with_cp_must_be_known():
    with pytest.raises(ValueError, match="with_cp must be .*'mlp'"):
        build(with_cp='attention')


@pytest.mark.parametrize('mask', [False, True])
def test_operands_are_what_the_layer_computed(mask):
    vit = build(prompt=dict(type='GuidedPrompt', mask=mask), tunable='bias').train()
    vit.guide.reads = (*OPERANDS, 'prompt')
    records = []
    vit.guide.register_forward_hook(lambda m, args, out: records.append(args))
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    vit(images)
    expected = []
    naive_forward(vit, images, expected)
    assert [i for i, _ in records] == [i for i, _ in expected] == [0, 1, 2]
    for (_, got), (_, want) in zip(records, expected):
        assert set(got) == set(want)
        for name, value in want.items():
            torch.testing.assert_close(got[name], value, rtol=0, atol=1e-10)


def test_operands_are_computed_only_when_read_in_training():
    vit = build(prompt=dict(type='GuidedPrompt'))
    records = []
    vit.guide.register_forward_hook(lambda m, args, out: records.append(args[1]))
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    vit.train()(images)
    assert not records
    vit.guide.reads = ('patch_key',)
    vit.eval()(images)
    assert not records
    vit.train()(images)
    assert [set(record) for record in records] == [{'patch_key'}] * 3


def test_frozen_stays_frozen_and_tuned_gets_a_gradient():
    for prompt, tunable in itertools.product((DEEP, SHALLOW, None), ('none', 'bias')):
        vit = build(prompt=prompt, tunable=tunable).train()
        before = copy.deepcopy(vit.state_dict())
        tuned = [p for p in vit.parameters() if p.requires_grad]
        if not tuned:
            continue
        optimizer = torch.optim.SGD(vit.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            vit(torch.randn(2, 3, 32, 32, dtype=torch.float64))[
                0
            ].square().sum().backward()
            optimizer.step()
        for name, parameter in vit.named_parameters():
            is_tuned = name.startswith('prompt.') or (
                tunable == 'bias' and name.endswith('.bias')
            )
            assert parameter.requires_grad == is_tuned, name
            assert (parameter.grad is not None) == is_tuned, name
            assert torch.equal(parameter, before[name]) != is_tuned, name


def test_modes():
    vit = build(prompt=dict(DEEP, drop_rate=0.5), drop_rate=0.5)
    assert vit.train() is vit and vit.eval() is vit
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    vit.train()
    assert vit.training and vit.prompt.training
    assert not torch.equal(vit(images)[0], vit(images)[0])  # prompt dropout
    vit.prompt.eval()
    assert torch.equal(vit(images)[0], vit(images)[0])  # the frozen ViT has none
    full = build(drop_rate=0.5, tunable='full').train()
    assert not torch.equal(full(images)[0], full(images)[0])


@pytest.mark.parametrize(
    ('options', 'draws'),
    [
        (dict(drop_rate=0.5, tunable=['pos_embed']), 'the positions'),
        (dict(layer_cfgs=dict(attn_drop_rate=0.5), tunable='full'), 'attention'),
        (dict(layer_cfgs=dict(drop_rate=0.5), tunable='full'), 'layers'),
    ],
)
def test_dropout_of_tuned_parts(options, draws):
    vit = build(**options)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert not torch.equal(vit.train()(images)[0], vit(images)[0]), draws
    assert torch.equal(vit.eval()(images)[0], vit(images)[0]), draws
    options = {k: v for k, v in options.items() if k != 'tunable'}
    frozen = build(**options).train()
    assert torch.equal(frozen(images)[0], frozen(images)[0]), draws


@pytest.mark.parametrize('name', ['proj_drop', 'out_drop'])
def test_dropout_behind_attention(name):
    vit = build(tunable='full').train()
    setattr(vit.layers[0].attn, name, nn.Dropout(0.5))
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert not torch.equal(vit(images)[0], vit(images)[0])


def test_drop_path_acts_in_frozen_layers_only_when_asked_for():
    images = torch.randn(8, 3, 32, 32, dtype=torch.float64)
    still, dropping = build(), build(drop_path_rate=0.9)
    assert torch.equal(still.train()(images)[0], still.eval()(images)[0])
    assert not torch.equal(dropping.train()(images)[0], dropping.eval()(images)[0])


def test_arch_names():
    dims = {'vit-ti': 192, 'vit-s': 384, 'vit-b': 768, 'vit-l': 1024, 'vit-h': 1280}
    layers = {'vit-l': 24, 'vit-h': 32}
    with torch.device('meta'):
        for name, width in dims.items():
            settings = PromptedVisionTransformer.arch_zoo[name]
            assert settings['embed_dims'] == width
            assert settings['num_layers'] == layers.get(name, 12)
        vit = PromptedVisionTransformer('vit-b')
    assert sum(p.numel() for p in vit.parameters()) == 85_798_656


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(prompt=dict(type='DeepPrompt', num_tokens=0)), 'num_tokens.*got 0'),
        (dict(prompt=dict(type='NoPrompt')), 'NoPrompt is not in the mmvpt::prompt'),
        (dict(prompt=dict(type='DeepPrompt', num_tokens=1, tokens=1)), 'tokens'),
        (dict(pooling='max'), "pooling must be one of 'cls'.*got 'max'"),
        (dict(pooling='prompts'), 'prompt is None'),
        (dict(pooling='patches', out_type='featmap'), 'would not be read'),
        (dict(out_indices=3), r'out_indices.*between -3 and 2.*got 3'),
        (dict(out_indices=(2, 1)), 'ascending'),
        (dict(out_indices=(0, 1), prompt=DEEP), 'never get a gradient.*num_layers=2'),
        (dict(out_indices=1, tunable='full'), 'never get a gradient'),
        (dict(img_size=30), 'img_size=30.*multiple such as 32'),
        (dict(arch='vit-x'), 'arch must be one of'),
        (dict(arch=0), 'arch must be FAMILY-SIZE or a dict'),
        (dict(arch=dict(embed_dims=10)), 'exactly the keys'),
        (dict(arch=dict(ARCH, num_heads=5)), 'not divisible'),
        (dict(tunable='biases'), "'biases' matches no parameter"),
        (dict(tunable=['bias', 'layers.7.**']), "'layers.7.\\*\\*' matches no"),
        (dict(tunable='partial-9'), 'between 1 and the 3'),
        (dict(final_norm='fresh'), 'final_norm must be one of'),
        (dict(final_norm='fresh-frozen', tunable='norm'), 'contradicts'),
        (dict(frozen_stages=1), 'frozen_stages is not an option'),
        (dict(unknown=1), 'unknown'),
        (dict(out_type='map'), 'out_type must be one of'),
    ],
)  # fmt: skip
def test_bad_arguments(options, message):
    with pytest.raises((ValueError, TypeError, KeyError), match=message):
        build(**options)


def test_bad_input_shape():
    with pytest.raises(ValueError, match=r'expected images \(B, 3, .*got \(1, 1, 32'):
        build()(torch.zeros(1, 1, 32, 32, dtype=torch.float64))


def test_config_objects_are_not_changed():
    indices, arch = [0, -1], dict(ARCH)
    prompt = dict(DEEP)
    build(out_indices=indices, arch=arch, prompt=prompt, out_type='featmap')
    assert (indices, arch, prompt) == ([0, -1], ARCH, DEEP)


def test_bf16_autocast_and_batch_of_one():
    vit = randomize(
        PromptedVisionTransformer(ARCH, img_size=32, patch_size=8, prompt=DEEP)
    ).train()
    images = torch.randn(1, 3, 32, 32)
    with torch.autocast('cpu', torch.bfloat16):
        out = vit(images)[0]
    out.float().sum().backward()
    assert torch.isfinite(vit.prompt.tokens.grad).all()
    torch.testing.assert_close(out.float(), vit(images)[0], rtol=0.1, atol=0.1)


def test_deepcopy():
    vit = build(prompt=DEEP).eval()
    clone = copy.deepcopy(vit)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert torch.equal(clone(images)[0], vit(images)[0])
