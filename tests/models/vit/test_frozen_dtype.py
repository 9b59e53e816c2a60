# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Frozen weights in half precision: what is kept so, and that the same is computed."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmvpt.errors import UserError
from mmvpt.models.vit import FrozenHost
from mmvpt.models.vit.prefix_cache import PrefixCache
from mmvpt.models.vit.serving import run_mixed
from mmvpt.weights.families import FAMILIES
from tests.models.exact import assert_same
from tests.models.prompted import ARCH, PROMPT_CONFIGS, WITHOUT_ROWS, build, images
from tests.quick import two_ranks

BF16 = torch.bfloat16
#: Weights of matrices and their biases alone.
MATRICES = ['layers.*.attn.{qkv,proj}.**', 'layers.*.ffn.layers.**', 'patch_embed.**']
TUNABLE = (
    'bias',
    'norm',
    'partial-1',
    'davpt-released',
    ['cls_token', 'pos_embed', 'layers.*.attn.qkv.bias.value'],
    MATRICES,
)
KINDS = [(name, {}) for name in PROMPT_CONFIGS]
KINDS += [('deep', dict(tunable=tunable)) for tunable in TUNABLE]
KINDS += [('deep', dict(adapter=dict(type=t))) for t in ('LoRA', 'AdapterPlus', 'SSF')]
KINDS += [
    ('deep', dict(arch=dict(ARCH, num_heads=2, family=family), tunable='partial-1'))
    for family in FAMILIES
]
every_kind = pytest.mark.parametrize(('name', 'options'), KINDS, ids=str)


def pair(name, **options):
    """Return a backbone in bfloat16 and one in float32 whose frozen values are its."""
    kept = build(name, frozen_dtype='bfloat16', **options)
    plain = build(name, **options)
    state = plain.state_dict()
    kept.load_state_dict(state)
    for key, parameter in kept.named_parameters():
        if parameter.dtype == BF16:
            state[key] = parameter.detach().float()
    plain.load_state_dict(state)
    return kept, plain


def close(found, expected, part=0.03):
    """Compare as far as bfloat16 goes."""
    atol = part * float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@every_kind
def test_the_same_is_computed(name, options):
    """To rounding in bfloat16; exactly, with every seam, where both are in float64."""
    kept, plain = pair(name, **options)
    (found, *_), (expected, *_) = kept(images()), plain(images())
    assert found.dtype == torch.float32
    close(found, expected)
    batch = images(dtype=torch.float64)
    kept, plain = kept.double(), plain.double()
    tuned = {n: p for n, p in kept.named_parameters() if p.requires_grad}
    expected = torch.func.functional_call(plain, tuned, (batch,))
    assert_same(kept, kept(batch), expected)


@every_kind
def test_what_trains_is_float32_and_what_is_frozen_is_not(name, options):
    kept, plain = pair(name, **options)
    kept(images())[0].square().mean().backward()
    frozen = 0
    for key, parameter in kept.named_parameters():
        if parameter.requires_grad:
            assert parameter.dtype == torch.float32
            assert parameter.grad is not None, key
        else:
            frozen += parameter.numel() * (parameter.dtype == BF16)
            assert parameter.dtype == BF16 or parameter.dim() == 1
            assert parameter.grad is None
    large = sum(
        p.numel() for p in plain.parameters() if not p.requires_grad and p.dim() > 1
    )
    assert frozen >= large
    bytes_of = [sum(p.nbytes for p in vit.parameters()) for vit in (kept, plain)]
    assert bytes_of[1] - bytes_of[0] == 2 * frozen
    again = copy.deepcopy(kept)
    again.layers = pickle.loads(pickle.dumps(kept.layers))
    assert torch.equal(again(images())[0], kept(images())[0])


class Copies(TorchDispatchMode):
    """Note every frozen weight that is copied to another dtype."""

    def __init__(self, vit):
        super().__init__()
        frozen = [p for p in vit.parameters() if not p.requires_grad]
        self.frozen = {p.untyped_storage().data_ptr() for p in frozen}
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default:
            if args[0].untyped_storage().data_ptr() in self.frozen:
                self.found.append(tuple(args[0].shape))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('name', PROMPT_CONFIGS)
def test_no_frozen_weight_is_copied_to_float32(name):
    vit = build(name, frozen_dtype='bfloat16')
    with Copies(vit) as copies:
        vit(images())[0].sum().backward()
        vit.eval()
        with torch.no_grad():
            vit(images())
    # SA2VP starts its second stream from the positions
    assert set(copies.found) <= ({(1, 17, 24)} if name == 'spatial' else set())


@pytest.mark.parametrize('tunable', ['none', MATRICES])
def test_equals_a_vit_in_bfloat16(tunable):
    """Bit for bit: layer after layer, all weights rounded, prompts as they enter."""
    kept, plain = pair('deep', tunable=tunable, pooling='patches')
    prompts = plain.prompt.tokens  # (L, M, C)
    plain.prompt = None
    plain.to(BF16)
    tokens, _ = plain.embed(images().to(BF16))
    for rows, layer in zip(prompts, plain.layers):
        tokens = layer(tokens, rows[None].to(BF16))
    expected = plain.ln1(tokens[:, 1:]).mean(1).float()
    (found,) = kept(images())
    assert torch.equal(found, expected)
    for y in (found, expected):
        y.square().mean().backward()
    assert torch.equal(kept.prompt.tokens.grad, prompts.grad)
    for key, parameter in plain.named_parameters():
        if parameter.requires_grad:
            # what both tokens and prompts use is summed in float32, there not
            close(kept.get_parameter(key).grad, parameter.grad.float(), 0.02)


def test_vectors_that_train_are_not_rounded():
    """Norms, scales and parts of a bias compute in float32; the result is rounded."""
    vit = build(
        'deep',
        arch=dict(ARCH, family='dinov2'),
        tunable=['norm', 'layers.*.attn.gamma1.*', 'layers.*.attn.qkv.bias.key'],
        frozen_dtype='bfloat16',
    )
    layer, x = vit.layers[0], torch.randn(2, 5, 24).to(BF16)
    ln, attn = layer.ln1, layer.attn
    normed = F.layer_norm(x.float(), (24,), ln.weight, ln.bias, ln.eps)
    assert torch.equal(ln(x), normed.to(BF16))
    assert torch.equal(attn.gamma1(x), (x.float() * attn.gamma1.weight).to(BF16))
    bias = attn.qkv.bias.float()
    bias[24:48] += attn.tuned_bias.key
    assert torch.equal(attn.qkv_bias, bias.to(BF16))


@pytest.mark.parametrize('name', PROMPT_CONFIGS)
def test_static_prompts_and_recomputation_change_nothing(name):
    pooling = 'patches' if name in WITHOUT_ROWS else 'prompts'
    grads = []
    for with_cp in (False, True, 'mlp'):
        vit = build(
            name, tunable='bias', pooling=pooling, with_cp=with_cp,
            frozen_dtype='bfloat16',
        )  # fmt: skip
        vit(images())[0].square().sum().backward()
        grads.append({n: p.grad for n, p in vit.named_parameters()})
    assert grads[0].keys() == grads[1].keys()
    for other in grads[1:]:
        torch.testing.assert_close(other, grads[0], rtol=0, atol=0)
    vit.eval()
    expected = vit(images())[0]
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(vit(images())[0], expected)


def gradients(model, vit, batch):
    model(batch)[0].square().mean().backward()
    return {n: p.grad for n, p in vit.named_parameters() if p.requires_grad}


def run_rank(rank, path):
    """Train on half a batch under DDP; rank 0's weights win."""
    vit = build('deep', rank, tunable='bias', frozen_dtype='bfloat16')
    model = torch.nn.parallel.DistributedDataParallel(vit)
    found = gradients(model, vit, images(4)[2 * rank : 2 * rank + 2])
    torch.save((found, vit.state_dict()), f'{path}{rank}')


def test_two_processes_average_what_each_half_gives(tmp_path):
    two_ranks(run_rank, tmp_path / 'rank')
    halves = []
    for half in images(4).split(2):
        vit = build('deep', tunable='bias', frozen_dtype='bfloat16')
        halves.append(gradients(vit, vit, half))
    for rank in range(2):
        found, state = torch.load(tmp_path / f'rank{rank}', weights_only=True)
        torch.testing.assert_close(state, vit.state_dict(), rtol=0, atol=0)
        for key, grad in found.items():
            mean = (halves[0][key] + halves[1][key]) / 2
            torch.testing.assert_close(grad, mean, rtol=1e-6, atol=1e-12)


def test_prefix_cache_keeps_half_the_bytes(tmp_path):
    sizes = []
    for dtype in (None, 'bfloat16'):
        vit = build('deep', prompt=dict(layers=[2]), frozen_dtype=dtype)
        expected = vit(images())[0]
        vit.prefix_cache = PrefixCache(tmp_path / str(dtype), 2, 10**6)
        for _ in range(2):
            assert torch.equal(vit(images())[0], expected)
        sizes.append(vit.prefix_cache._added_bytes)
    assert sizes[0] == 2 * sizes[1]


def test_mixed_batches():
    vits = [
        build(name, frozen_dtype='bfloat16', **options).eval()
        for name, options in KINDS[:20] + [('deep', dict(tunable='davpt+'))]
    ]
    frozen = dict(vits[0].named_parameters())
    for vit in vits[1:]:
        for key, parameter in list(vit.named_parameters()):
            if not parameter.requires_grad:
                path, _, leaf = key.rpartition('.')
                setattr(vit.get_submodule(path), leaf, frozen[key])
    with torch.no_grad():
        for outs, vit in zip(run_mixed(vits, [images()] * len(vits)), vits):
            close(outs[0], vit(images())[0])


def test_what_prompts_start_from_is_float32():
    vit, plain = pair('deep')
    hosts = [FrozenHost(v.eval()) for v in (vit, plain)]
    given = [
        [
            host.embed(images()),
            host.embed(images(), positions=False),
            host.layer(1, images(2, (5, 24))[:, 0]),
            *host.query(1),
            *(
                seen[key]
                for seen in host.trace(images(), prompted=True)
                for key in ('tokens', 'prompts', 'token_keys', 'attended')
            ),
        ]
        for host in hosts
    ]
    for found, expected in zip(*given):
        assert found.dtype == torch.float32
        close(found, expected)


def test_operands_of_metric_losses_are_float32():
    vit = build('distribution-aware', frozen_dtype='bfloat16')
    vit.guide.reads = ('patch_key', 'output', 'prompt')
    found = {}
    vit.guide.register_forward_hook(lambda m, args, out: found.update(args[1]))
    vit(images())
    assert [x.dtype for x in found.values()] == [torch.float32] * 3


@pytest.mark.parametrize('tunable', ['none', 'partial-1', 'davpt-released'])
def test_compiles_without_graph_breaks(tunable):
    torch._dynamo.reset()
    vit = build('deep', tunable=tunable, frozen_dtype='bfloat16')
    compiled = torch.compile(vit, backend='eager', fullgraph=True)
    assert torch.equal(compiled(images())[0], vit(images())[0])


def test_mixed_precision_of_the_same_dtype_changes_nothing():
    vit = build('deep', tunable='bias', frozen_dtype='bfloat16')
    expected = vit(images())[0]
    with torch.autocast('cpu', BF16):
        close(vit(images())[0], expected, 0.01)


def test_what_would_be_computed_wrongly_is_refused():
    with pytest.raises(UserError, match="frozen_dtype must be one of None, 'bfloat16'"):
        build('deep', frozen_dtype='float64')
    with pytest.raises(UserError, match='leaves nothing frozen'):
        build(None, tunable='full', frozen_dtype='bfloat16')
    vit = build('deep', frozen_dtype='float16')
    with pytest.raises(UserError, match='is for GPUs, and these images are on the CPU'):
        vit(images())
    vit = build('deep', frozen_dtype='bfloat16')
    with torch.autocast('cpu', torch.float16):
        with pytest.raises(UserError, match="optim_wrapper.dtype='bfloat16'"):
            vit(images())
