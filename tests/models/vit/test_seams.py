# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The seams of the prompt contract against their formulas, written out."""

import itertools

import pytest
import torch
from torch import nn

from mmvpt.models.prompts.base import POSITIONS, BasePrompt
from mmvpt.models.vit.serving import run_mixed
from mmvpt.registry import PROMPTS
from tests.models.exact import assert_same
from tests.models.naive import naive_forward
from tests.models.vit.test_mixed_batch import share
from tests.models.vit.test_vit import ARCH, DEEP, OUTPUTS, build

SIZES = ((32, 32), (48, 40))
WITHOUT_PROMPTS = [o for o in OUTPUTS if 'prompts' not in o.get('pooling', '')]
GENERATOR = torch.Generator().manual_seed(0)


def images(size, count=2):
    return torch.randn(count, 3, *size, dtype=torch.float64, generator=GENERATOR)


def same(vit, size=(32, 32)):
    batch = images(size)
    assert_same(vit, vit(batch), naive_forward(vit, batch))
    vit.eval()
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(
                vit(batch), tuple(naive_forward(vit, batch)), rtol=0, atol=1e-10
            )


@PROMPTS.register_module(force=True)
class KeyValues(BasePrompt):
    """Tokens, and keys and values without tokens, in all layers but the second."""

    def __init__(self, num_tokens=3, num_key_values=2, mask=False, keep=False, **host):
        super().__init__(**host)
        self.mask, self.keeps_outputs = mask, keep
        shape = (self.num_layers, num_tokens, self.embed_dims)
        self.tokens = nn.Parameter(torch.randn(shape)) if num_tokens else None
        shape = (self.num_layers, num_key_values, 2 * self.embed_dims)
        self.key_values = nn.Parameter(torch.randn(shape))

    def forward(self, i, patches, grid, entered=None, left=None):
        if self.tokens is None:
            return None
        if not self.keeps_outputs or i == 0:
            return self.tokens[i][None]
        return left + self.tokens[i]

    def is_static(self, i):
        return not self.keeps_outputs

    def extra_key_values(self, i):
        return None if i == 1 else self.key_values[i][None]


@pytest.mark.parametrize('output', OUTPUTS, ids=str)
@pytest.mark.parametrize(('mask', 'keep'), itertools.product((False, True), repeat=2))
def test_extra_key_values(output, mask, keep):
    same(build(prompt=dict(type='KeyValues', mask=mask, keep=keep), **output))
    if 'prompts' not in output.get('pooling', ''):
        same(build(prompt=dict(type='KeyValues', num_tokens=0), **output))


@PROMPTS.register_module(force=True)
class Cross(BasePrompt):
    """Prompts that all rows ask; for each image if ``each``."""

    def __init__(self, position, num_tokens=3, each=False, **host):
        super().__init__(**host)
        self.position, self.each = position, each
        shape = (self.num_layers, num_tokens, self.embed_dims)
        self.tokens = nn.Parameter(torch.randn(shape))

    def forward(self, i, patches, grid, entered=None, left=None):
        if i == 1:
            return None
        tokens = self.tokens[i][None]
        return tokens + patches.mean(1, keepdim=True) if self.each else tokens


@pytest.mark.parametrize('output', WITHOUT_PROMPTS, ids=str)
@pytest.mark.parametrize('position', POSITIONS[1:])
def test_cross_attention(position, output):
    for num_tokens, each in ((1, False), (3, True), (40, False)):
        prompt = dict(type='Cross', position=position, num_tokens=num_tokens, each=each)
        same(build(prompt=prompt, layer_scale_init_value=0.5, **output), (48, 40))


@PROMPTS.register_module(force=True)
class Refining(BasePrompt):
    """Changes patches behind every layer but the first; returns queries."""

    refines = True

    def __init__(self, num_tokens=2, **host):
        super().__init__(**host)
        self.map = nn.Linear(self.embed_dims, self.embed_dims)
        self.tokens = nn.Parameter(torch.randn(num_tokens, self.embed_dims))

    def refine(self, i, patches):
        return patches if i == 0 else patches + self.map(patches).tanh()

    def queries(self):
        return self.tokens


@pytest.mark.parametrize('with_cp', [False, True, 'mlp'])
@pytest.mark.parametrize('output', WITHOUT_PROMPTS, ids=str)
def test_refine_and_queries(output, with_cp):
    vit = build(prompt=dict(type='Refining'), with_cp=with_cp, **output)
    batch = images((48, 40))
    *outs, queries = vit(batch)
    assert queries is vit.prompt.tokens
    vit.prompt.tokens.requires_grad = False
    assert_same(vit, outs, naive_forward(vit, batch))


@PROMPTS.register_module(force=True)
class Companion(BasePrompt):
    """A second stream: asked by the image in odd layers, asks it in the others."""

    companion = True

    def __init__(self, heads='all', border='cut', **host):
        super().__init__(**host)
        self.heads, self.border = heads, border
        count = self.num_extra_tokens + self.patch_grid[0] * self.patch_grid[1]
        self.tokens = nn.Parameter(torch.randn(count, self.embed_dims))
        self.map = nn.Linear(self.embed_dims, self.embed_dims)
        self.runs = []

    def start(self, position, grid):
        if grid == self.patch_grid:
            return self.tokens + position
        return self.tokens.mean(0) + position

    def accompany(self, i, tokens, companion, layer):
        self.runs.append((i, layer.cls_only, layer.companion_read))
        pair = (companion, tokens) if i % 2 else (tokens, companion)
        added = self.map(layer.meet(*pair, self.heads, self.border))
        tokens, companion = layer.run(tokens), layer.run(companion)
        if i % 2:
            return tokens, companion + added
        return tokens + added, companion


def literal_meet(vit, layer, x, y, heads, border, grid):
    """Ask row by row: CLS sees all, a patch its 3 x 3 neighbours."""
    attn = layer.attn
    count = max(len(x), len(y))
    q = attn.qkv(layer.ln1(x)).chunk(3, -1)[0].expand(count, -1, -1)
    _, k, v = attn.qkv(layer.ln1(y)).expand(count, -1, -1).chunk(3, -1)
    number = attn.num_heads if heads == 'all' else 1
    q, k, v = (t.unflatten(-1, (number, -1)) for t in (q, k, v))
    e, (rows, columns) = vit.num_extra_tokens, grid
    outs = []
    for row in range(q.shape[1]):
        if row < e:
            keys, values = k, v
        else:
            r, c = divmod(row - e, columns)
            keys, values = [], []
            for a, b in itertools.product((r - 1, r, r + 1), (c - 1, c, c + 1)):
                if 0 <= a < rows and 0 <= b < columns:
                    keys.append(k[:, e + a * columns + b])
                    values.append(v[:, e + a * columns + b])
                elif border == 'pad':
                    keys.append(torch.zeros_like(k[:, 0]))
                    values.append(torch.zeros_like(k[:, 0]))
            keys, values = torch.stack(keys, 1), torch.stack(values, 1)
        logits = torch.einsum('bhd,bthd->bht', q[:, row], keys) / q.shape[-1] ** 0.5
        outs.append(torch.einsum('bht,bthd->bhd', logits.softmax(-1), values))
    return attn.proj(torch.stack(outs, dim=1).flatten(2))


def literal_streams(vit, batch):
    """Return both streams behind the last layer, every row through everything."""
    x, grid = vit.embed(batch)
    y = vit.prompt.start(vit.positions(grid), grid)
    plain, e = vit.prompt, vit.num_extra_tokens
    for i, layer in enumerate(vit.layers):
        pair = (y, x) if i % 2 else (x, y)
        added = plain.map(
            literal_meet(vit, layer, *pair, plain.heads, plain.border, grid)
        )
        streams = []
        for t in (x, y):
            q, k, v = (
                s.unflatten(-1, (3, -1)).transpose(1, 2)
                for s in layer.attn.qkv(layer.ln1(t)).chunk(3, -1)
            )
            weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
            t = t + layer.attn.proj((weights @ v).transpose(1, 2).flatten(2))
            streams.append(layer.ffn(layer.ln2(t), t))
        x, y = streams
        x, y = (x, y + added) if i % 2 else (x + added, y)
    return x, y, e, grid


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('heads', ['all', 'one'])
@pytest.mark.parametrize('border', ['cut', 'pad'])
def test_companion(heads, border, with_cp):
    for size in SIZES:
        for output in (dict(), dict(out_type='featmap')):
            prompt = dict(type='Companion', heads=heads, border=border)
            vit = build(prompt=prompt, with_cp=with_cp, **output).train()
            vit.guide.reads = ('companion',)
            read = []
            vit.guide.register_forward_hook(lambda m, args, out, r=read: r.append(args))
            batch = images(size)
            found = vit(batch)[0]
            x, y, e, grid = literal_streams(vit, batch)
            x, y = vit.ln1(x), vit.ln1(y)
            expected = x[:, 0] if not output else x[:, e:].mT.unflatten(2, grid)
            ((layer, operands),) = read
            assert layer == 2
            assert_same(
                vit, [found, operands['companion']], [expected, y[:, 0].expand(2, -1)]
            )


def test_a_companion_that_nobody_reads_is_said_to_be():
    vit = build(prompt=dict(type='Companion')).eval()
    vit(images((32, 32)))
    assert vit.prompt.runs == [(0, False, True), (1, False, True), (2, True, False)]


@torch.no_grad()
def test_in_mixed_batches():
    prompts = [
        DEEP,
        dict(type='KeyValues'),
        dict(type='Cross', position='between'),
        dict(type='Refining'),
        dict(type='Companion'),
        None,
        DEEP,
    ]
    vits = share([build(prompt=prompt) for prompt in prompts])
    batches = [images((32, 32), 1 + k % 2) for k in range(len(vits))]
    for outs, vit, batch in zip(run_mixed(vits, batches), vits, batches):
        torch.testing.assert_close(outs[0], vit(batch)[0], rtol=0, atol=1e-10)


def test_the_host_is_described():
    host = build(prompt=DEEP).prompt
    assert (host.num_heads, host.num_extra_tokens) == (ARCH['num_heads'], 1)
