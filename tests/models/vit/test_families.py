# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Every family against timm, in float64, with every weight drawn at random."""

import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from timm.layers import LayerNorm, SwiGLUPacked
from timm.models import eva, vision_transformer
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.weights.families import FAMILIES
from tests.models.exact import assert_same
from tests.models.naive import naive_angles, naive_forward
from tests.models.vit.test_vit import randomize
from tests.quick import in_turn

DIMS, DEPTH, HEADS, INNER = 48, 3, 3, 40
SHAPE = dict(embed_dim=DIMS, depth=DEPTH, num_heads=HEADS)
PLAIN = partial(
    VisionTransformer, patch_size=4, num_classes=0, dynamic_img_size=True, **SHAPE
)
EVA = partial(
    Eva,
    patch_size=4,
    num_classes=0,
    use_rot_pos_emb=True,
    mlp_ratio=INNER / DIMS,
    dynamic_img_size=True,
    **SHAPE,
)
DINOV3 = partial(
    EVA,
    init_values=0.1,
    rope_type='dinov3',
    rope_temperature=100,
    rope_rotate_half=True,
    use_abs_pos_emb=False,
    num_reg_tokens=4,
    use_fc_norm=False,
    global_pool='token',
    norm_layer=partial(LayerNorm, eps=1e-5),
)
EVA02 = partial(EVA, swiglu_mlp=True, ref_feat_shape=(16, 16), global_pool='avg')
#: Its coordinates are not scaled, as released; timm scales them to its first grid.
PE = partial(
    EVA,
    attn_type='rope',
    use_pre_transformer_norm=True,
    rope_grid_offset=1.0,
    rope_grid_indexing='xy',
    global_pool='map',
    attn_pool_num_heads=8,
    attn_pool_mlp_ratio=INNER / DIMS,
    norm_layer=partial(LayerNorm, eps=1e-5),
)
PACKED = dict(mlp_ratio=2 * INNER / DIMS, mlp_layer=SwiGLUPacked, act_layer=nn.SiLU)
RATIO = dict(mlp_ratio=INNER / DIMS)
#: Family, arguments of ours, timm's model.
MODELS = {
    'vit': ('vit', {}, partial(PLAIN, **RATIO)),
    'clip': (
        'vit',
        dict(pre_norm=True, norm_cfg=dict(type='LN', eps=1e-5), act='quick_gelu'),
        partial(
            PLAIN,
            pre_norm=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-5),
            act_layer='quick_gelu',
            **RATIO,
        ),
    ),
    'dinov2': ('dinov2', {}, partial(PLAIN, init_values=0.1, **RATIO)),
    'dinov2-g': (
        'dinov2',
        dict(act='swiglu'),
        partial(PLAIN, init_values=0.1, **PACKED),
    ),
    'dinov2-reg': (
        'dinov2-reg',
        {},
        partial(
            PLAIN,
            init_values=0.1,
            reg_tokens=4,
            no_embed_class=True,
            **RATIO,
        ),
    ),
    'dinov3': ('dinov3', dict(qkv_bias=False), partial(DINOV3, qkv_bias=False)),
    'dinov3-qkvb': ('dinov3', {}, DINOV3),
    'dinov3-h+': (
        'dinov3',
        dict(act='swiglu'),
        partial(DINOV3, swiglu_mlp=True, mlp_ratio=INNER / DIMS),
    ),
    'siglip': (
        'siglip',
        {},
        partial(
            PLAIN, class_token=False, global_pool='map', act_layer='gelu_tanh', **RATIO
        ),
    ),
    'siglip-exact-gelu': (
        'siglip',
        dict(act='gelu'),
        partial(PLAIN, class_token=False, global_pool='map', **RATIO),
    ),
    'siglip-gap': (
        'siglip',
        dict(pooling='patches'),
        partial(
            PLAIN, class_token=False, global_pool='avg', act_layer='gelu_tanh',
            fc_norm=False, **RATIO,
        ),
    ),
    'eva02-s': ('eva02', dict(act='swiglu', norm_before_pool=False), EVA02),
    'eva02-b': (
        'eva02',
        dict(norm_before_pool=False),
        partial(EVA02, scale_mlp=True, qkv_fused=False),
    ),
    'eva02-mim': (
        'eva02',
        {},
        partial(EVA02, scale_mlp=True, qkv_fused=False, use_fc_norm=False),
    ),
    'eva02-clip': (
        'eva02-clip',
        {},
        partial(
            EVA02, scale_mlp=True, scale_attn_inner=True, qkv_fused=False,
            global_pool='token',
        ),
    ),
    'pe-core': ('pe-core', {}, PE),
}  # fmt: skip
every_model = pytest.mark.parametrize('name', MODELS)
RENAMED = (
    ('patch_embed.proj.', 'patch_embed.projection.'),
    ('attn_pool.latent', 'pool.probe'),
    ('attn_pool.mlp.', 'pool.'),
    ('attn_pool.', 'pool.'),
    ('reg_token', 'reg_tokens'),
    ('norm_pre.', 'pre_norm.'),
    ('fc_norm.', 'ln1.'),
    ('blocks.', 'layers.'),
    ('.norm1.', '.ln1.'),
    ('.norm2.', '.ln2.'),
    ('.ls1.gamma', '.attn.gamma1.weight'),
    ('.ls2.gamma', '.ffn.gamma2.weight'),
    ('.gamma_1', '.attn.gamma1.weight'),
    ('.gamma_2', '.ffn.gamma2.weight'),
    ('.mlp.', '.ffn.'),
)


def converted(model, swiglu):
    """Return the weights of timm's model in our names."""
    state = {}
    for key, value in model.state_dict().items():
        if key.startswith('rope.') or key.endswith(('_bias_mask', 'k_bias')):
            continue
        for old, new in RENAMED:
            key = key.replace(old, new)
        state[re.sub(r'^norm\.', 'ln1.', key)] = value
    for i in range(DEPTH):
        attn, ffn = f'layers.{i}.attn.', f'layers.{i}.ffn.'
        weights = [state.pop(f'{attn}{p}_proj.weight', None) for p in 'qkv']
        if weights[0] is not None:
            state[f'{attn}qkv.weight'] = torch.cat(weights)
        q, v = (
            state.pop(f'{attn}{p}_bias', state.pop(f'{attn}{p}_proj.bias', None))
            for p in 'qv'
        )
        if q is not None:
            state[f'{attn}qkv.bias'] = torch.cat([q, torch.zeros_like(q), v])
        for part in ('weight', 'bias'):
            first, last = f'{ffn}fc1.{part}', f'{ffn}fc2.{part}'
            if swiglu:
                pair = [state.pop(f'{ffn}fc1_{p}.{part}', None) for p in 'gx']
                if pair[0] is not None:
                    state[first] = torch.cat(pair)
                state[f'{ffn}w12.{part}'] = state.pop(first)
                state[f'{ffn}w3.{part}'] = state.pop(last)
            else:
                state[f'{ffn}layers.0.0.{part}'] = state.pop(first)
                state[f'{ffn}layers.1.{part}'] = state.pop(last)
    return state


def pair(name, img_size, **options):
    """Return our model and timm's with the same weights, in float64 and eval mode."""
    family, own, make = MODELS[name]
    theirs = randomize(make(img_size=img_size).double().eval())
    if getattr(theirs, 'rope', None) is not None:
        theirs.rope.double()
    ours = PromptedVisionTransformer(
        arch=dict(
            family=family,
            embed_dims=DIMS,
            num_layers=DEPTH,
            num_heads=HEADS,
            feedforward_channels=INNER,
        ),
        patch_size=4,
        img_size=img_size,
        **{
            **own,
            **options,
            'pooling': None if options.get('out_type') else own.get('pooling'),
        },
    )
    randomize(ours.double().eval(), seed=1)
    state = converted(theirs, ours.act.startswith('swiglu'))
    if ours.pos_embed is not None and state['pos_embed'].shape != ours.pos_embed.shape:
        row = torch.zeros(1, 1, DIMS, dtype=torch.float64)
        state['pos_embed'] = torch.cat([row, state['pos_embed']], dim=1)
    if options.get('out_type', 'cls_token') != 'cls_token':
        state = {k: v for k, v in state.items() if not k.startswith('pool.')}
    missing, unexpected = ours.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.startswith('prompt.') for key in missing), missing
    return ours, theirs


def exact_table(ours, theirs, grid):
    """Let timm use angles in float64, which it computes in float32."""
    angles = naive_angles(ours, grid)
    if ours.family == 'dinov3':
        angles = torch.cat([angles, angles], dim=-1)
    else:
        angles = angles.repeat_interleave(2, dim=-1)
    own = theirs.rope.get_embed(shape=grid)
    table = torch.cat([angles.sin(), angles.cos()], dim=-1)
    torch.testing.assert_close(own.double(), table, rtol=0, atol=2e-5)
    theirs.rope.get_embed = lambda *_, **__: table


def through_timm(theirs, images, tokens, pooled):
    """Run timm's layers by hand, with fresh prompts behind CLS and registers."""
    x, rope = theirs.patch_embed(images), {}
    x = theirs._pos_embed(x)
    if isinstance(x, tuple):
        x, rope['rope'] = x
    x = theirs.norm_pre(x)
    extra = theirs.num_prefix_tokens
    for i, block in enumerate(theirs.blocks):
        prompts = [] if tokens is None else [tokens[i].expand(len(x), -1, -1)]
        count = sum(p.shape[1] for p in prompts)
        x = torch.cat([x[:, :extra], *prompts, x[:, extra:]], dim=1)
        block.attn.num_prefix_tokens = extra + count
        x = block(x, **rope)
        x = torch.cat([x[:, :extra], x[:, extra + count :]], dim=1)
    x = theirs.norm(x)
    return theirs.forward_head(x, pre_logits=True) if pooled else x[:, extra:]


#: Sizes of training, and of the images.
SIZES = [((32, 32), (32, 32)), ((20, 36), (20, 36)), ((20, 36), (24, 40))]


def resized(positions, new_size, old_size, num_prefix_tokens=1, mode='bicubic'):
    """Resize positions as all families do but DINOv2 with registers, in float32."""
    if tuple(new_size) == tuple(old_size):
        return positions
    extra, grid = positions.tensor_split([num_prefix_tokens], dim=1)
    grid = grid.unflatten(1, tuple(old_size)).permute(0, 3, 1, 2).float()
    grid = F.interpolate(grid, tuple(new_size), mode=mode, align_corners=False)
    return torch.cat([extra, grid.flatten(2).mT.to(extra)], dim=1)


@every_model
def test_equals_timm(name, monkeypatch):
    """Pooled vector and patches, bare and with deep prompts and all gradients.

    At other sizes than that of training, too: timm resizes with antialias, as DINOv2
    with registers does; for others the rule is written above.
    """
    if name != 'dinov2-reg':
        for module in (eva, vision_transformer):
            mode = 'bilinear' if name == 'pe-core' else 'bicubic'
            rule = partial(resized, mode=mode)
            monkeypatch.setattr(module, 'resample_abs_pos_embed', rule)
    deep = dict(type='DeepPrompt', num_tokens=5)
    for trained, size in SIZES:
        images = torch.randn(2, 3, *size, dtype=torch.float64)
        grid = (size[0] // 4, size[1] // 4)
        for prompt in (None, deep):
            for output in (dict(), dict(out_type='featmap')):
                ours, theirs = pair(
                    name, trained, prompt=prompt, tunable='full', **output
                )
                if ours.rotary is not None:
                    exact_table(ours, theirs, grid)
                tokens = None if prompt is None else ours.prompt.tokens
                expected = through_timm(theirs, images, tokens, not output)
                if output:
                    if not isinstance(theirs.fc_norm, nn.Identity):
                        expected = theirs.fc_norm(expected)
                    expected = expected.mT.unflatten(2, grid)
                elif prompt is None:
                    whole = theirs(images)
                    torch.testing.assert_close(whole, expected, rtol=0, atol=1e-10)
                (found,) = ours(images)
                scale = float(expected.abs().max())
                assert (found - expected).abs().max() < 1e-9 * scale
                if prompt is not None:
                    weight = torch.randn_like(expected)
                    grads = [
                        torch.autograd.grad((weight * y).sum(), tokens)[0]
                        for y in (found, expected)
                    ]
                    bound = 1e-9 * float(grads[1].abs().max())
                    assert (grads[0] - grads[1]).abs().max() < bound


PROMPTS = {
    'bare': None,
    'deep': dict(type='DeepPrompt', num_tokens=3),
    'gated': dict(type='GatedPrompt', num_tokens=3, drop_rate=0),
    'tricks': dict(type='EveryTrickPrompt', mask=True),
    'key values': dict(type='KeyValues'),
    'between': dict(type='Cross', position='between'),
    'refining': dict(type='Refining', num_tokens=1),
}
OUTPUTS = (
    dict(),
    dict(pooling='patches', norm_before_pool=False),
    dict(out_type='featmap', out_indices=(0, 2)),
    dict(out_type='raw'),
    dict(out_type='avg_featmap'),
)


def vit_arch(family):
    """Return the numbers of a small backbone."""
    return dict(
        family=family, embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=20
    )


def small(family, **options):
    """Return a small backbone of a family, everything drawn."""
    shape = dict(arch=vit_arch(family), patch_size=8, img_size=32)
    vit = PromptedVisionTransformer(**{**shape, **options})
    return randomize(vit.double())


@pytest.mark.parametrize(('kind', 'family'), in_turn(PROMPTS, FAMILIES))
def test_rows_that_nobody_reads_change_nothing(family, kind):
    import tests.models.vit.test_seams  # noqa: F401, registers prompts

    for output in OUTPUTS:
        vit = small(family, prompt=PROMPTS[kind], tunable='full', **output).train()
        images = torch.randn(2, 3, 48, 40, dtype=torch.float64)
        outs = vit(images)[: len(vit.out_indices)]
        tuned = {n: p for n, p in vit.named_parameters() if p.requires_grad}
        for tensor in (tuned.get('prompt.tokens') if kind == 'refining' else None,):
            if tensor is not None:
                tensor.requires_grad = False
        assert_same(vit, outs, naive_forward(vit, images))


@pytest.mark.parametrize('dtype', ['float64', 'bfloat16'])
def test_frequencies_as_dinov3_was_released(dtype):
    arch = dict(vit_arch('dinov3'), embed_dims=48)  # four periods
    vit = small('dinov3', arch=arch, rope_dtype=dtype).eval()
    images = torch.randn(1, 3, 32, 48, dtype=torch.float64)
    torch.testing.assert_close(
        vit(images)[0], naive_forward(vit, images)[0], rtol=0, atol=1e-10
    )
    dtype = 'bfloat16' if dtype == 'float64' else 'float64'
    other = small('dinov3', arch=arch, rope_dtype=dtype)
    assert not torch.allclose(other.eval()(images)[0], vit(images)[0], atol=1e-6)


@every_model
@pytest.mark.parametrize('size', [(32, 32), (24, 40)])
def test_half_precision_turns_in_float32(name, size):
    ours, _ = pair(name, (32, 32))
    images = torch.randn(1, 3, *size)
    exact = ours(images.double())[0].float()
    with torch.autocast('cpu', torch.bfloat16):
        found = ours.float()(images)[0].float()
    assert (found - exact).norm() < 0.2 * exact.norm()


NAMES = [
    f'{family}-{size}' for family, facts in FAMILIES.items() for size in facts.sizes
]


@pytest.mark.parametrize('arch', NAMES)
def test_every_size_is_built_as_its_family_says(arch):
    family = max((f for f in FAMILIES if arch.startswith(f'{f}-')), key=len)
    facts = FAMILIES[family]
    size = facts.sizes[arch[len(family) + 1 :]]
    patch = size.patch_size or facts.patch_size
    with torch.device('meta'):
        vit = PromptedVisionTransformer(arch, img_size=16 * patch)
    assert (vit.embed_dims, vit.num_layers) == size[:2]
    layer = vit.layers[0]
    assert layer.attn.num_heads == size.num_heads
    assert layer.ln1.eps == vit.ln1.eps == facts.norm_eps
    assert (vit.reg_tokens is None) == (facts.num_registers == 0)
    assert vit.num_extra_tokens == facts.with_cls_token + facts.num_registers
    assert (vit.pos_embed is None) == (facts.positions is None)
    inner = layer.ffn.w3 if vit.act.startswith('swiglu') else layer.ffn.layers[1]
    assert inner.in_features == size.feedforward_channels
    assert (layer.attn.qkv.bias is None) == (size.qkv_bias is False)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='siglip-b', pooling='cls'), "one of .'patches', .*'map'"),
        (dict(arch='eva02-s', pooling='map', img_size=224), 'pooling must be one of'),
        (dict(arch='siglip-b', tunable='cls'), "'cls_token' matches no parameter"),
        (dict(arch='vit-s', tunable='registers'), "'reg_tokens' matches no"),
        (dict(arch='siglip-b', tunable='davpt+'), "'cls_token' matches no"),
        (
            dict(arch='dinov3-s', qkv_bias=False, tunable='davpt+'),
            'qkv.bias.key.* matches no',
        ),
        (dict(arch='dinov4-b'), 'arch must be one of .*dinov3-b'),
        (dict(arch=dict(family='dinov4')), 'family must be one of'),
        (dict(arch='vit-s', act='relu'), "act must be one of 'gelu'"),
        (dict(arch='vit-s', interpolate_mode='cubic'), 'interpolate_mode must be'),
        (dict(arch='vit-s', rope_dtype='float16'), 'rope_dtype must be'),
        (dict(arch='vit-s', with_cls_token=False), 'with_cls_token=False'),
        (
            dict(arch=dict(family='dinov3', embed_dims=30, num_layers=1, num_heads=3,
                           feedforward_channels=8)),
            'multiple of 4',
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_family_is_refused(options, message):
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        PromptedVisionTransformer(**options)


def test_operands_of_cls_need_it():
    vit = small('siglip', prompt=dict(type='GuidedPrompt'), tunable='none').train()
    vit.guide.reads = ('patch_key', 'cls_key')
    with pytest.raises(ValueError, match="'cls_key' is read of the class token"):
        vit(torch.randn(1, 3, 32, 32, dtype=torch.float64))


@pytest.mark.parametrize('family', ['dinov2-reg', 'dinov3'])
def test_registers_train_alone(family):
    vit = small(family, tunable='registers').train()
    vit(torch.randn(1, 3, 32, 32, dtype=torch.float64))[0].sum().backward()
    trained = [n for n, p in vit.named_parameters() if p.grad is not None]
    assert trained == ['reg_tokens']
