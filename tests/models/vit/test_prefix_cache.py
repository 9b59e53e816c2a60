# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The cache of the frozen prefix: exact, never stale, bounded, whole after a kill."""

import copy

import pytest
import torch

from mmvpt.models.vit import PromptedVisionTransformer, prefix_cache
from mmvpt.models.vit.prefix_cache import (
    PrefixCache,
    cacheable_layers,
    hash_rows,
    prefix_fingerprint,
)
from tests.models.vit import test_vit as hosts
from tests.models.vit.test_static_prompts import CHANGES

ARCH = dict(embed_dims=16, num_layers=4, num_heads=2, feedforward_channels=32)
LATE = dict(type='DeepPrompt', num_tokens=3, layers=[2, 3])
LARGE = 577 * 16 * 4 + 200  # bytes of one image of 96 pixels, and what names it


def build(prompt=LATE, seed=0, **options):
    torch.manual_seed(seed)
    options = {'arch': ARCH, 'img_size': 16, 'patch_size': 4, **options}
    return PromptedVisionTransformer(prompt=prompt, **options)


def cached(vit, folder, max_bytes=10**8):
    vit.prefix_cache = PrefixCache(folder, cacheable_layers(vit), max_bytes)
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


@pytest.mark.parametrize('damage', ['cut', 'gone'])
def test_what_a_kill_or_a_bad_disk_leaves_is_computed_anew(tmp_path, damage):
    vit = build(img_size=96).eval()
    first = cached(vit, tmp_path)
    expected = vit(images(size=(96, 96)))[0]
    first.close()
    rows = sorted(tmp_path.glob('*/*/*.val'))
    if damage == 'cut':
        rows[0].write_bytes(rows[0].read_bytes()[:-1])
    else:
        rows[0].unlink()
    cache = cached(vit, tmp_path)
    for _ in range(2):
        torch.testing.assert_close(vit(images(size=(96, 96)))[0], expected)
    assert (cache.hits, cache.misses, cache.added) == (7, 1, 1)


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


@pytest.mark.parametrize('change', CHANGES, ids=lambda f: f.__name__)
def test_never_stale(tmp_path, change):
    """Not even when the frozen weights change while the cache is on."""
    vit = hosts.build(prompt=dict(hosts.DEEP, layers=[2])).eval()
    cache = cached(vit, tmp_path)
    x = images(size=(32, 32)).double()
    with torch.no_grad():
        before = vit(x)[0]
        change(vit, 'layers.1.attn.proj.weight')
        after = vit(x)[0]
        fresh = copy.deepcopy(vit)
        fresh.prefix_cache = None
        assert not torch.allclose(before, after, rtol=0, atol=1e-9)
        torch.testing.assert_close(after, fresh(x)[0], rtol=0, atol=1e-12)
        vit(x)
    assert cache.hits == 4


def test_weights_are_hashed_again_only_when_they_may_have_changed(
    tmp_path, monkeypatch
):
    hashed = []
    original = prefix_cache.prefix_fingerprint

    def prefix_fingerprint(*args):
        hashed.append(1)
        return original(*args)

    monkeypatch.setattr(prefix_cache, 'prefix_fingerprint', prefix_fingerprint)
    vit = build().train()
    cache = cached(vit, tmp_path)
    optimizer = torch.optim.SGD(vit.parameters(), lr=0.1)
    for _ in range(3):
        vit(images())[0].sum().backward()
        optimizer.step()
    assert len(hashed) == 1
    vit.eval()(images())
    assert (len(hashed), cache.hits) == (2, 3 * 4)


def test_weights_made_in_inference_mode_are_not_trusted(tmp_path):
    with torch.inference_mode():
        vit = build().eval()
        cache = cached(vit, tmp_path)
        first = vit(images())[0]
        vit.layers[0].attn.proj.weight.add_(1)
        assert not torch.equal(vit(images())[0], first)
    assert (cache.hits, cache.misses, cache.added) == (0, 8, 0)


def test_another_precision_of_products_is_another_entry(tmp_path):
    vit = build().eval()
    cache = cached(vit, tmp_path)
    before = torch.get_float32_matmul_precision()
    vit(images())
    torch.set_float32_matmul_precision('medium')
    try:
        vit(images())
        assert cache.hits == 0
        vit(images())
        assert cache.hits == 4
    finally:
        torch.set_float32_matmul_precision(before)


def test_settings_of_the_embedding_are_in_the_hash():
    prints = set()
    for padding in ('corner', 'same'):
        vit = build(patch_cfg=dict(padding=padding), pre_norm=True)
        for eps in (1e-6, 1e-3):
            vit.pre_norm.eps = eps
            prints.add(prefix_fingerprint(vit, 2))
    assert len(prints) == 4
    assert prefix_fingerprint(copy.deepcopy(vit).train(), 2) in prints


def test_hashes_tell_images_apart():
    x = images(64)
    x[1] = x[0].flip(-1)
    x[2] = x[0].roll(1, -1)
    x[3] = x[0]
    keys = hash_rows(x)
    assert len(set(keys)) == 63 and keys[0] == keys[3]
    assert hash_rows(x[5:9]) == keys[5:9]
    assert len(set(hash_rows(x.bfloat16()))) == 63


def test_hashes_tell_large_rows_apart(monkeypatch):
    """As many pieces as there are, in their order."""
    monkeypatch.setattr(prefix_cache, '_PIECE', 5)
    prefix_cache._factors.cache_clear()
    x = torch.arange(24.0).repeat(5, 1)
    x[1] = x[0].roll(5)
    x[2, [0, 5]] *= -1
    x[3, -1] = 0
    x[4, :5], x[4, 5:10] = x[0, 5:10], x[0, :5]
    try:
        assert len(set(hash_rows(x))) == 5
    finally:
        prefix_cache._factors.cache_clear()


def held(folder):
    """Bytes of activations in a folder, each image a file."""
    return sum(path.stat().st_size for path in folder.glob('*/*/*.val'))


def test_the_bound_holds(tmp_path):
    vit = build(img_size=96).eval()
    cache = cached(vit, tmp_path, max_bytes=5 * LARGE)
    for _ in range(2):
        vit(images(8, size=(96, 96)))
    assert held(tmp_path) <= 6 * LARGE
    assert cache.hits + cache.misses == 16 and 1 <= cache.hits <= 5
    assert (cache.added, cache.refused) == (5, cache.misses - 5)


@pytest.mark.parametrize('seed', [0, 5], ids=['same backbone', 'another backbone'])
def test_what_was_kept_first_gives_way(tmp_path, seed):
    first = build(img_size=96).eval()
    cache = cached(first, tmp_path, max_bytes=12 * LARGE)
    first(images(10, size=(96, 96)))
    cache.close()
    vit = build(seed=seed, img_size=96).eval()
    cache = cached(vit, tmp_path, max_bytes=12 * LARGE)
    plain = copy.deepcopy(vit)
    plain.prefix_cache = None
    new = images(8, seed=2, size=(96, 96))
    for _ in range(3):
        torch.testing.assert_close(vit(new)[0], plain(new)[0])
    assert (cache.hits, cache.added, cache.refused) == (2 * 8, 8, 0)
    assert held(tmp_path) <= 13 * LARGE


def test_processes_share_what_they_find(tmp_path):
    one, two = build().eval(), build().eval()
    first, second = cached(one, tmp_path), cached(two, tmp_path)
    torch.testing.assert_close(one(images())[0], two(images())[0], rtol=0, atol=0)
    two(images(seed=2))
    one(images(seed=2))
    assert (first.hits, first.misses) == (second.hits, second.misses) == (4, 4)


def test_the_same_image_twice_in_a_batch(tmp_path):
    vit = build().eval()
    cache = cached(vit, tmp_path)
    batch = images()[[0, 0, 1]]
    torch.testing.assert_close(vit(batch)[0], vit(batch)[0])
    assert cache.added == 2


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
