# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""SA2VP against figures of the authors' code and against its equations."""

import pytest
import torch
import torch.nn.functional as F

from mmvpt.errors import UserError
from mmvpt.models.prompts import SpatialPrompt
from tests.models.exact import assert_same
from tests.models.golden import assert_golden, golden_backbone, load_golden
from tests.models.naive_streams import answer
from tests.models.prompted import build as small
from tests.models.prompted import images

GOLDEN = load_golden('sa2vp_golden')
META = GOLDEN['meta']
HOST = dict(embed_dims=24, num_layers=5, patch_grid=(4, 4), patch_size=8, num_heads=3)
FORMS = {
    'local': dict(heads='all', border='cut'),
    'acc': dict(heads='one', border='pad'),
}
NAMES = (
    ('fresh_tokens', 'deep_ppt'),
    ('fresh_expand', 'deep_proj'),
    ('fresh_scales', 'cross_conv'),
    ('tokens', 'ppt'),
    ('bridges', 'cross_attn'),
    ('norm', 'ffn_norm'),
    ('reduce', 'ffn.fc1'),
)


def released(values, name):
    if name.startswith('expand'):
        return values(name.replace('expand', 'ppt_proj'))
    if name.startswith('bridges'):
        name = name.replace('expand', 'ffn.fc2')
    for ours, theirs in NAMES:
        name = '.'.join(theirs if part == ours else part for part in name.split('.'))
    value = values(name)
    return value[0] if name == 'ppt' else value[:, 0] if name == 'deep_ppt' else value


def build(variant, **options):
    prompt = dict(
        type='SpatialPrompt',
        rank=META['rank'],
        scale=META['variants'][variant]['scale'],
        drop_rate=0,
        **FORMS[variant.removesuffix('_strong')],
    )
    vit = golden_backbone(GOLDEN, prompt=prompt, **options)
    for name, parameter in vit.prompt.named_parameters():
        value = released(lambda key: GOLDEN[f'prompt/{key}'], name)
        assert parameter.shape == value.shape, name
        parameter.data = value.clone()
    return vit


@pytest.mark.parametrize('variant', META['variants'])
def test_golden_features_and_gradients(variant):
    vit = build(variant)
    assert vit.prompt.adapt_layers == tuple(META['adapt_layers'])
    assert vit.prompt.fresh_layers == tuple(META['fresh_layers'])
    assert_golden(GOLDEN, variant, vit, released)


def companion_feature(vit, batch):
    """Return what a listener of the guide gets in training."""
    found = {}
    handle = vit.guide.register_forward_hook(lambda m, args, out: found.update(args[1]))
    vit.guide.reads = ('companion',)
    vit.train()(batch)
    vit.eval()
    handle.remove()
    vit.guide.reads = ()
    return found['companion']


class Companion(torch.nn.Module):
    """A backbone whose output is the feature of the companion."""

    def __init__(self, vit):
        super().__init__()
        self.vit, self.prompt = vit, vit.prompt

    def forward(self, batch):
        return [companion_feature(self.vit, batch)]


@pytest.mark.parametrize('variant', META['variants'])
def test_golden_companion(variant):
    held = {
        key.replace('prompt_feature', 'feature').replace('_prompt/', '/'): value
        for key, value in GOLDEN.items()
        if key.startswith(f'{variant}/') and 'prompt' in key
    }
    golden = dict(held, images=GOLDEN['images'])
    assert_golden(golden, variant, Companion(build(variant)), released)


def literal(vit, batch):
    """Run both streams in the plain way; return their tokens."""
    prompt = vit.prompt
    x, grid = vit.embed(batch)
    patches = vit.patch_embed(batch)[0]
    position = x - torch.cat([vit.cls_token.expand(len(x), -1, -1), patches], dim=1)

    def at_grid(tokens):
        rows = tokens[1:].mT.reshape(1, -1, 4, 4)
        rows = F.interpolate(rows, grid, mode='bilinear', align_corners=False)
        return torch.cat([tokens[:1], rows.flatten(2)[0].mT])

    def run(layer, z):
        z = z + layer.attn(layer.ln1(z))
        return layer.ffn(layer.ln2(z), identity=z)

    y = prompt.expand(at_grid(prompt.tokens)) + position
    for i, layer in enumerate(vit.layers):
        adapts = i in prompt.adapt_layers
        asking, asked = (y, x) if adapts else (x, y)
        m = answer(layer, asking, asked, grid, prompt.heads, prompt.border)
        bridge = prompt.bridges[i]
        change = bridge.expand(F.gelu(bridge.reduce(bridge.norm(m + asking))))
        x, y = run(layer, x), run(layer, y)
        if i in prompt.fresh_layers:
            p = prompt.fresh_layers.index(i)
            fresh = prompt.fresh_expand[p](at_grid(prompt.fresh_tokens[p]))[None]
            y = y + run(layer, fresh) * prompt.fresh_scales[p]
        x, y = (
            (x, y + prompt.scale * change)
            if adapts
            else (
                x + prompt.scale * change,
                y,
            )
        )
    return x, y


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('size', [(32, 32), (40, 24)])
def test_literal_equation(form, size):
    changes = dict(FORMS[form], scale=0.7)
    vit = small('spatial', prompt=changes).double()
    batch = images(size=size, dtype=torch.float64)
    x, y = literal(vit, batch)
    assert_same(vit, vit(batch), [vit.ln1(x)[:, 0]])
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            got = vit.eval()(batch)[0]
        torch.testing.assert_close(got, vit.ln1(x)[:, 0], rtol=0, atol=1e-10)
    got = companion_feature(vit, batch)
    torch.testing.assert_close(got, vit.ln1(y)[:, 0], rtol=0, atol=1e-10)


def test_silent_bridges_leave_the_frozen_vit():
    vit, plain = small('spatial').double(), small(None).double()
    plain.load_state_dict(vit.state_dict(), strict=False)
    for bridge in vit.prompt.bridges:
        bridge.expand.weight.data.zero_()
        bridge.expand.bias.data.zero_()
    batch = images(dtype=torch.float64)
    torch.testing.assert_close(vit(batch)[0], plain(batch)[0], rtol=0, atol=1e-12)


def test_a_place_reaches_its_neighbours():
    vit = small('spatial', prompt=dict(adapt_layers=[], fresh_layers=[])).double()
    layer, grid = vit.layers[0], (4, 4)
    x, y = torch.randn(2, 1, 17, 24, dtype=torch.float64)
    other = y.clone()
    other[:, 1 + 5] = x[:, 0]  # row 1, column 1
    changed = (
        answer(layer, x, other, grid, 'all', 'cut')
        - answer(layer, x, y, grid, 'all', 'cut')
    ).abs().sum(-1)[0] > 1e-12
    around = [0] + [1 + 4 * i + j for i in range(3) for j in range(3)]
    assert changed.nonzero().flatten().tolist() == around


def test_dropout_is_drawn_for_each_image_and_absent_in_evaluation():
    vit = small('spatial', prompt=dict(drop_rate=0.5)).double().train()
    batch = images(1, dtype=torch.float64).expand(2, -1, -1, -1)
    first, second = vit(batch)[0]
    assert not torch.equal(first, second)
    first, second = vit.eval()(batch)[0]
    torch.testing.assert_close(first, second, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ('rank', 'fresh', 'count'),
    [
        (8, None, 202_200),
        (16, None, 372_912),
        (32, None, 714_336),
        (64, None, 1_397_184),
        (64, [4], 1_333_888),
    ],
)
def test_counts(rank, fresh, count):
    host = dict(embed_dims=768, num_layers=12, patch_grid=(14, 14), patch_size=16)
    prompt = SpatialPrompt(rank, fresh_layers=fresh, **host)
    assert sum(p.numel() for p in prompt.parameters()) == count


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(rank=0), 'rank must be an integer of at least 1'),
        (dict(adapt_layers=[2, 1]), 'ascending numbers from 0 to 3'),
        (dict(adapt_layers=[0, 4]), 'In the last layer, 4, the image asks'),
        (dict(adapt_layers=[0, 9]), 'ascending numbers from 0 to 3'),
        (dict(fresh_layers=[1]), r'among adapt_layers=\(0,\)'),
        (dict(heads='two'), "'all', 'one'; got 'two'"),
        (dict(border='wrap'), "'cut', 'pad'; got 'wrap'"),
        (dict(drop_rate=1), r'in \[0, 1\)'),
        (dict(num_extra_tokens=0), 'class token'),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        SpatialPrompt(**{**HOST, **options})


def test_what_the_backbone_refuses():
    for pooling in ('prompts', 'prompts_and_patches'):
        with pytest.raises(UserError, match=pooling):
            small('spatial', pooling=pooling)
    with pytest.raises(ValueError, match='never get a gradient'):
        small('spatial', out_type='featmap', out_indices=(0, 1))
