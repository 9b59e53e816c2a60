# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The cache of the frozen prefix: exact, never stale, bounded, whole after a kill."""

import copy

import pytest
import torch

from mmvpt.models.backbones import PromptedVisionTransformer
from mmvpt.models.backbones.prefix_cache import (
    PrefixCache,
    cacheable_layers,
    image_keys,
    prefix_fingerprint,
)

ARCH = dict(embed_dims=16, num_layers=4, num_heads=2, feedforward_channels=32)
LATE = dict(type='DeepPrompt', num_tokens=3, layers=[2, 3])


def build(prompt=LATE, seed=0, **options):
    torch.manual_seed(seed)
    options = {'arch': ARCH, 'img_size': 16, 'patch_size': 4, **options}
    return PromptedVisionTransformer(prompt=prompt, **options)


def cached(vit, folder, max_bytes=10**8):
    count = cacheable_layers(vit)
    vit.prefix_cache = PrefixCache(
        folder, count, max_bytes, prefix_fingerprint(vit, count)
    )
    return vit.prefix_cache


def images(count=4, seed=1, size=(16, 16)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, *size, generator=generator)


@pytest.mark.parametrize('size', [(16, 16), (12, 20)])
@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(out_type='featmap', out_indices=(2, 3)),
        dict(prompt=None, tunable='partial-1'),
        dict(prompt=None, tunable=['layers.2.attn.qkv.bias.value']),
        dict(prompt=None),
    ],
    ids=str,
)
def test_outputs_and_gradients_are_those_of_the_plain_way(tmp_path, options, size):
    plain = build(**options).double().train()
    vit = copy.deepcopy(plain)
    cache = cached(vit, tmp_path)
    x = images(6, size=size).double()
    for batch in (x[:4], x[2:], x[[5, 0, 3]], x[:1]):  # all new, partly, all known
        expected, found = plain(batch), vit(batch)
        for a, b in zip(found, expected):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
        if any(p.requires_grad for p in vit.parameters()):
            sum(y.square().sum() for y in expected).backward()
            sum(y.square().sum() for y in found).backward()
            for a, b in zip(vit.parameters(), plain.parameters()):
                assert (a.grad is None) == (b.grad is None)
                if a.grad is not None:
                    torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-10)
    assert (cache.hits, cache.misses) == (2 + 3 + 1, 4 + 2)


def test_known_images_run_no_layer_of_the_prefix(tmp_path):
    vit = build().eval()
    cached(vit, tmp_path)
    ran = []
    for i, layer in enumerate(vit.layers):
        layer.ln1.register_forward_hook(lambda *_, i=i: ran.append(i))
    vit(images())
    assert {0, 1, 2, 3} == set(ran)
    ran.clear()
    vit(images())
    assert set(ran) == {2, 3}


def test_a_later_run_reads_what_an_earlier_one_wrote(tmp_path):
    vit = build().eval()
    first = cached(vit, tmp_path)
    expected = vit(images())[0]
    first.close()
    again = build().eval()
    cache = cached(again, tmp_path)
    torch.testing.assert_close(again(images())[0], expected, rtol=0, atol=0)
    assert (cache.hits, cache.misses) == (4, 0)


@pytest.mark.parametrize('damage', ['cut data', 'cut index', 'flip', 'no header'])
def test_what_a_kill_or_a_bad_disk_leaves_is_computed_anew(tmp_path, damage):
    vit = build().eval()
    first = cached(vit, tmp_path)
    expected = vit(images())[0]
    first.close()
    data, index = next(tmp_path.glob('*.bin')), next(tmp_path.glob('*.index'))
    content = data.read_bytes()
    if damage == 'cut data':
        data.write_bytes(content[: int(len(content) * 0.6)])
    elif damage == 'cut index':
        index.write_bytes(index.read_bytes()[:-50])
    elif damage == 'flip':
        data.write_bytes(content[:100] + bytes([content[100] ^ 255]) + content[101:])
    else:
        index.write_bytes(b'')
    cache = cached(vit, tmp_path)
    for _ in range(2):
        torch.testing.assert_close(vit(images())[0], expected)
    assert cache.misses == {'cut data': 2, 'cut index': 2, 'flip': 1}.get(damage, 4)
    assert cache.hits == 8 - cache.misses


def test_other_weights_data_and_precision_are_other_entries(tmp_path):
    vit = build().eval()
    cached(vit, tmp_path)
    vit(images())
    other = build(seed=5).eval()
    cache = cached(other, tmp_path)
    fresh = copy.deepcopy(other)
    fresh.prefix_cache = None
    torch.testing.assert_close(other(images()), fresh(images()))
    other(images() + 1e-6)
    assert cache.hits == 0
    other.double()(images().double())
    assert cache.hits == 0
    with torch.autocast('cpu', torch.bfloat16):
        other.float()(images())
    assert cache.hits == 0


def test_hashes_tell_images_apart():
    x = images(64)
    x[1] = x[0].flip(-1)
    x[2] = x[0].roll(1, -1)
    x[3] = x[0]
    keys = image_keys(x)
    assert len(set(keys)) == 63 and keys[0] == keys[3]
    assert image_keys(x[5:9]) == keys[5:9]
    assert len(set(image_keys(x.bfloat16()))) == 63


def test_the_bound_holds(tmp_path):
    vit = build().eval()
    size = 17 * 16 * 4
    cache = cached(vit, tmp_path, max_bytes=5 * size)
    for _ in range(2):
        vit(images(8))
    assert cache.stored == 5 * size
    assert next(tmp_path.glob('*.bin')).stat().st_size == 5 * size
    assert (cache.hits, cache.misses) == (5, 8 + 3)


def test_two_processes_do_not_mix_their_files(tmp_path):
    one, two = build().eval(), build().eval()
    cached(one, tmp_path)
    cached(two, tmp_path)
    torch.testing.assert_close(one(images())[0], two(images())[0])
    assert len(list(tmp_path.glob('*.bin'))) == 2


def test_the_same_image_twice_in_a_batch(tmp_path):
    vit = build().eval()
    cache = cached(vit, tmp_path)
    batch = images()[[0, 0, 1]]
    torch.testing.assert_close(vit(batch)[0], vit(batch)[0])
    assert cache.stored == 2 * 17 * 16 * 4


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(prompt=dict(LATE, layers=None)), 'DeepPrompt enters layer'),
        (dict(prompt=dict(type='ShallowPrompt', num_tokens=2)), 'ShallowPrompt'),
        (dict(tunable='bias'), 'trains'),
        (dict(tunable='cls'), 'cls_token trains'),
        (dict(out_type='featmap', out_indices=(0, 3)), 'out_indices'),
        (dict(drop_path_rate=0.1), 'drop_path_rate=0.0'),
        (dict(adapter=dict(type='LoRA')), 'adapter'),
    ],
)
def test_what_cannot_be_cached_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        cacheable_layers(build(**options))


def test_prompts_in_some_layers_only():
    vit = build(dict(LATE, layers=[0, 3]))
    assert vit.prompt.tokens.shape == (2, 3, 16)
    assert (vit.prompt.first_layer, vit.prompt.last_layer) == (0, 3)
    for wrong in ([], [3, 2], [4], [1, 1], [-1]):
        with pytest.raises(ValueError, match='ascending numbers from 0 to 3'):
            build(dict(LATE, layers=wrong))
