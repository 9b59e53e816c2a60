# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Images of several backbones in one batch give what each gives by itself."""

import pytest
import torch

from mmvpt.models.vit import serving
from mmvpt.models.vit.serving import run_mixed
from tests.models.vit.test_vit import DEEP, build, randomize

ADAPTIVE = dict(type='AdaptivePrompt', num_tokens=3)
DISTRIBUTION = dict(
    type='DistributionAwarePrompt', num_classes=3, num_guided_tokens=2, num_tokens=2
)
GATED = dict(type='GatedPrompt', num_tokens=3)
SHALLOW = dict(type='ShallowPrompt', num_tokens=2)
KEY_BIAS = ['layers.*.attn.qkv.bias.key', 'cls_token']
LORA = dict(type='LoRA')


def share(vits):
    """Give all the frozen weights of the first that has them, and own tuned ones."""
    weights = {}
    for seed, vit in enumerate(vits, 1):
        if vit.prompt is not None:
            randomize(vit.prompt, seed)
        for name, parameter in list(vit.named_parameters()):
            if parameter.requires_grad:
                parameter.data += 0.01 * seed
                continue
            path, _, leaf = name.rpartition('.')
            owner = vit.get_submodule(path)
            setattr(owner, leaf, weights.setdefault(name, parameter))
        vit.eval()
    return vits


@pytest.fixture
def batches(monkeypatch):
    """Record layer and images of everything that runs together."""
    found = []

    def run_together(vit, entering, tokens):
        found.append((entering[0].layer, len(tokens)))
        return original(vit, entering, tokens)

    original = serving._run_together
    monkeypatch.setattr(serving, '_run_together', run_together)
    return found


TASKS = [
    dict(prompt=DEEP),
    dict(prompt=dict(DEEP, num_tokens=7)),
    dict(prompt=None),
    dict(prompt=ADAPTIVE),
    dict(prompt=DISTRIBUTION, pooling='patches'),
    dict(prompt=DISTRIBUTION, tunable=KEY_BIAS),
    dict(prompt=DEEP, tunable='partial-1'),
    dict(prompt=GATED),
    dict(prompt=SHALLOW),
    dict(prompt=SHALLOW, pooling='prompts'),
    dict(prompt=dict(DEEP, layers=[1])),
    dict(prompt=DEEP, out_type='featmap', out_indices=(0, 2)),
    dict(prompt=None, tunable='full'),
    dict(prompt=None, adapter=LORA),
]


@torch.no_grad()
def test_every_kind_together_equals_each_alone(batches):
    vits = share([build(**task) for task in TASKS])
    images = [
        torch.randn(1 + k % 3, 3, 32, 40, dtype=torch.float64) for k in range(len(vits))
    ]
    for outs, vit, rows in zip(run_mixed(vits, images), vits, images):
        torch.testing.assert_close(outs, vit(rows), rtol=0, atol=1e-10)
    assert {i for i, _ in batches} == {0, 1, 2}


@torch.no_grad()
def test_who_runs_together(batches):
    first, *tasks = [dict(prompt=DEEP), *TASKS[1:4], dict(TASKS[6]), dict(TASKS[5])]
    vits = share([build(**task) for task in (first, *tasks)])
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    run_mixed(vits, [images] * len(vits))
    # Five of two images, in the last layer without the one that tunes it.
    assert batches == [(0, 10), (1, 10), (2, 8)]


@torch.no_grad()
def test_equal_numbers_of_prompts_need_no_mask(batches, monkeypatch):
    monkeypatch.delattr(serving, '_hide')
    vits = share([build(prompt=DEEP) for _ in range(3)])
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    outs = run_mixed(vits, [images] * 3)
    for out, vit in zip(outs, vits):
        torch.testing.assert_close(out, vit(images), rtol=0, atol=1e-10)
    assert not torch.allclose(outs[0][0], outs[1][0])


@pytest.mark.parametrize('other', [True, False])
def test_the_same_images_run_once_until_backbones_differ(monkeypatch, other):
    late = [dict(prompt=dict(DEEP, layers=[2])), dict(prompt=None)]
    tasks = [*late, *late, *[dict(prompt=DEEP)] * other]
    vits = share([build(**task) for task in tasks])
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = [vit(images) for vit in vits]
    rows = []
    for i, layer in enumerate(vits[0].layers):
        monkeypatch.setattr(
            layer.attn.qkv,
            'forward',
            lambda x, i=i, qkv=layer.attn.qkv: (
                rows.append((i, len(x))) or type(qkv).forward(qkv, x)
            ),
        )
    for vit in vits[1:]:
        vit.layers = vits[0].layers
    outs = run_mixed(vits, [images] * 4 + [images.clone()] * other)
    torch.testing.assert_close(outs, expected, rtol=0, atol=1e-10)
    together = {i: max(n for k, n in rows if k == i) for i, _ in rows}
    more = 2 * other
    assert together == {0: 2 + more, 1: 2 + more, 2: 6 + more}
    for k, task in enumerate(tasks):
        if task['prompt']:
            tokens = list(vits[k].prompt.parameters())
            found = torch.autograd.grad(outs[k][0].sum(), tokens, retain_graph=True)
            torch.testing.assert_close(
                found, torch.autograd.grad(expected[k][0].sum(), tokens)
            )


def test_one_mode_for_all():
    vits = [build(prompt=DEEP).train(), build(prompt=DEEP).eval()]
    with pytest.raises(ValueError, match='some backbones are in training mode'):
        run_mixed(vits, [torch.zeros(1, 3, 32, 32)] * 2)
