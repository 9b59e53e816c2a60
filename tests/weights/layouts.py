# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Random weights of every family, written as every program names them."""

import re

import torch

from mmvpt.weights import FAMILIES, Architecture

WIDTH, HEADS, HIDDEN = 24, 3, 40
_OWN = dict(qkv_bias=True, final_norm=True)


def architecture(family, **changes):
    """Return a small architecture of a family."""
    row = FAMILIES[family]
    patch = changes.get('patch_size', row.patch_size)
    return Architecture(
        **{
            **dict(
                family=family,
                embed_dims=WIDTH,
                num_layers=2,
                num_heads=HEADS,
                feedforward_channels=HIDDEN,
                img_size=4 * patch if row.positions else None,
                patch_size=patch,
                in_channels=3,
                num_registers=row.num_registers,
                pre_norm=row.pre_norm,
                patch_bias=not row.pre_norm,
                layer_scale=row.layer_scale,
                norm_eps=row.norm_eps,
                activation=row.act,
                pooling=row.pooling,
                interpolate_mode=row.positions,
            ),
            **_OWN,
            **changes,
        }
    )


def weights(arch, seed=0):
    """Return random weights in the backbone's names; EVA and DINOv3 bias no keys."""
    rng = torch.Generator().manual_seed(seed)
    state = {n: torch.randn(s, generator=rng) for n, s in arch.shapes().items()}
    if arch.family in ('dinov3', 'eva02', 'eva02-clip'):
        for name in [n for n in state if n.endswith('qkv.bias')]:
            state[name][WIDTH : 2 * WIDTH] = 0
    return state


def _named(state, pairs):
    out = {}
    for name, value in state.items():
        for pattern, replacement in pairs:
            new, count = re.subn(pattern, replacement, name)
            if count:
                name = new
                break
        out[name] = value
    return out


def _split(state, pattern, names, keys=True):
    """Cut fused matrices into parts named ``names``; without ``keys`` no key bias."""
    out = {}
    for name, value in state.items():
        match = re.fullmatch(pattern, name)
        if match is None:
            out[name] = value
            continue
        for i, (part, chunk) in enumerate(zip(names, value.chunk(len(names)))):
            if keys or i != 1 or match[2] != 'bias':
                out[match[1] + part.format(match[2])] = chunk
    return out


_BLOCK = r'layers\.(\d+)\.'
_TIMM = (
    (r'^patch_embed\.projection', 'patch_embed.proj'),
    (r'^reg_tokens$', 'reg_token'),
    (_BLOCK + r'ln([12])', r'blocks.\1.norm\2'),
    (_BLOCK + r'attn\.gamma1\.weight', r'blocks.\1.ls1.gamma'),
    (_BLOCK + r'ffn\.gamma2\.weight', r'blocks.\1.ls2.gamma'),
    (_BLOCK + r'ffn\.layers\.0\.0', r'blocks.\1.mlp.fc1'),
    (_BLOCK + r'ffn\.layers\.1', r'blocks.\1.mlp.fc2'),
    (_BLOCK + r'ffn\.', r'blocks.\1.mlp.'),
    (r'^layers', 'blocks'),
    (r'^ln1', 'norm'),
    (r'^pre_norm', 'norm_pre'),
    (r'^pool\.probe', 'attn_pool.latent'),
    (r'^pool\.(fc[12])', r'attn_pool.mlp.\1'),
    (r'^pool', 'attn_pool'),
)
_W12 = r'(.*\.ffn\.)w12\.(weight|bias)'
_QKV = r'(.*\.attn\.)qkv\.(weight|bias)'


def timm(state, arch):
    """``VisionTransformer`` of timm; with registers positions of patches alone."""
    packed = (
        (_BLOCK + r'ffn\.w12', r'blocks.\1.mlp.fc1'),
        (_BLOCK + r'ffn\.w3', r'blocks.\1.mlp.fc2'),
    )
    out = _named(state, (*packed, *_TIMM))
    if arch.num_registers and 'pos_embed' in out:
        out['pos_embed'] = out['pos_embed'][:, 1:]
        state['pos_embed'][:, 0] = 0
    return {**out, 'head.weight': torch.ones(5, WIDTH), 'head.bias': torch.ones(5)}


def timm_eva(state, arch):
    """``Eva`` of timm: DINOv3 and the small EVA-02 fused, the larger ones apart."""
    if arch.activation == 'swiglu_norm':
        state = _split(state, _QKV, ('q_proj.{}', 'k_proj.{}', 'v_proj.{}'), keys=False)
    else:
        biases = {n: v for n, v in state.items() if n.endswith('qkv.bias')}
        state = {n: v for n, v in state.items() if n not in biases}
        state.update(
            _split(biases, _QKV, ('q_{}', 'k_{}', 'v_{}'), keys=False),
        )
    if arch.activation == 'swiglu_norm' or arch.family == 'dinov3':
        state = _split(state, _W12, ('fc1_g.{}', 'fc1_x.{}'))
    own = (
        (_BLOCK + r'attn\.gamma1\.weight', r'blocks.\1.gamma_1'),
        (_BLOCK + r'ffn\.gamma2\.weight', r'blocks.\1.gamma_2'),
        (_BLOCK + r'ffn\.w12', r'blocks.\1.mlp.fc1'),
        (_BLOCK + r'ffn\.w3', r'blocks.\1.mlp.fc2'),
    )
    if arch.family == 'eva02':
        own += ((r'^ln1', 'fc_norm'),)
    return _named(state, (*own, *_TIMM))


def release(state, arch):
    """What the authors of DINOv2, DINOv3 and EVA-02 publish."""
    gated = ('w1.{}', 'w2.{}')
    if arch.family.startswith('eva02'):
        state = timm_eva(state, arch)
        state = {
            re.sub(r'([qv])_proj\.bias', r'\1_bias', n): v for n, v in state.items()
        }
        pairs = (
            (r'attn\.norm', 'attn.inner_attn_ln'),
            (r'mlp\.norm', 'mlp.ffn_ln'),
            (r'fc1_g', 'w1'),
            (r'fc1_x', 'w2'),
            (r'mlp\.fc2', 'mlp.w3'),
            (r'mlp\.fc1', 'mlp.w12'),
            (r'^fc_norm', 'norm'),
        )
        rope = {
            'rope.freqs_cos': torch.ones(16, 8),
            'rope.freqs_sin': torch.ones(16, 8),
        }
        return {**_named(state, pairs), **rope}
    out = {'mask_token': torch.zeros(1, WIDTH)}
    if arch.family == 'dinov3':
        state = _split(state, _W12, gated)
        count = WIDTH // HEADS // 4
        out['rope_embed.periods'] = 100 ** (torch.arange(count) / count)
    registers = 'storage_tokens' if arch.family == 'dinov3' else 'register_tokens'
    out.update(_named(state, ((r'^reg_tokens$', registers), *_TIMM)))
    for name in [n for n in out if n.endswith('qkv.bias') and arch.family == 'dinov3']:
        mask = torch.ones(3 * WIDTH)
        mask[WIDTH : 2 * WIDTH] = 0
        out[f'{name}_mask'] = mask
        out[name] = torch.where(mask == 0, torch.nan, out[name])
    return out


_HF = (
    (r'^(cls_token|mask_token)$', r'embeddings.\1'),
    (r'^reg_tokens$', 'embeddings.register_tokens'),
    (r'^pos_embed$', 'embeddings.position_embeddings'),
    (r'^patch_embed\.projection', 'embeddings.patch_embeddings.projection'),
    (r'^ln1', 'layernorm'),
    (_BLOCK + r'attn\.gamma1\.weight', r'layers.\1.layer_scale1.lambda1'),
    (_BLOCK + r'ffn\.gamma2\.weight', r'layers.\1.layer_scale2.lambda1'),
)
_ATTENTION = tuple(f'{part}.{{}}' for part in ('query', 'key', 'value'))
_PROJ = tuple(f'{part}_proj.{{}}' for part in 'qkv')


def hf4(state, arch):
    """Files of transformers 4 and 5: ViT, DINOv2 and DINOv3."""
    if arch.family == 'dinov3':
        return _hf_dinov3(state, 'layer')
    state = _split(state, _QKV, _ATTENTION)
    norms = ('layernorm_before', 'layernorm_after')
    if arch.layer_scale:
        norms = ('norm1', 'norm2')
    plain = ('mlp.fc1', 'mlp.fc2') if arch.layer_scale else ('intermediate', 'output')
    pairs = (
        (_BLOCK + r'ln1', rf'layers.\1.{norms[0]}'),
        (_BLOCK + r'ln2', rf'layers.\1.{norms[1]}'),
        (_BLOCK + r'attn\.proj', r'layers.\1.attention.output.dense'),
        (_BLOCK + r'attn\.(query|key|value)', r'layers.\1.attention.attention.\2'),
        (_BLOCK + r'ffn\.layers\.0\.0', rf'layers.\1.{plain[0]}'),
        (_BLOCK + r'ffn\.layers\.1', rf'layers.\1.{plain[1]}'),
        (_BLOCK + r'ffn\.w12', r'layers.\1.mlp.weights_in'),
        (_BLOCK + r'ffn\.w3', r'layers.\1.mlp.weights_out'),
    )
    out = _named(state, (*_HF, *pairs))
    if not arch.layer_scale:
        out = _named(out, ((r'(intermediate|output)\.(w|b)', r'\1.dense.\2'),))
        out['pooler.dense.weight'] = torch.ones(WIDTH, WIDTH)
    return _named(out, ((r'^layers', 'encoder.layer'),))


def hf5(state, arch):
    """What ``state_dict()`` of transformers 5 has: ViT, DINOv2 and DINOv3."""
    if arch.family == 'dinov3':
        return _hf_dinov3(state, 'model.layer')
    state = _split(state, _QKV, _PROJ)
    state = _split(state, _W12, ('gate_proj.{}', 'up_proj.{}'))
    norms = ('norm1', 'norm2') if arch.layer_scale else ('layernorm_before',) * 2
    pairs = (
        (_BLOCK + r'ln1', rf'layers.\1.{norms[0]}'),
        (_BLOCK + r'ln2', rf'layers.\1.{norms[1].replace("before", "after")}'),
        (_BLOCK + r'attn\.proj', r'layers.\1.attention.o_proj'),
        (_BLOCK + r'attn\.', r'layers.\1.attention.'),
        (_BLOCK + r'ffn\.layers\.0\.0', r'layers.\1.mlp.fc1'),
        (_BLOCK + r'ffn\.layers\.1', r'layers.\1.mlp.fc2'),
        (_BLOCK + r'ffn\.w3', r'layers.\1.mlp.down_proj'),
        (_BLOCK + r'ffn\.', r'layers.\1.mlp.'),
    )
    out = _named(state, (*_HF, *pairs))
    return _named(out, ((r'^layers', 'encoder.layer'),)) if arch.layer_scale else out


def _hf_dinov3(state, layer):
    state = _split(state, _QKV, _PROJ, keys=False)
    state = _split(state, _W12, ('gate_proj.{}', 'up_proj.{}'))
    pairs = (
        (r'^patch_embed\.projection', 'embeddings.patch_embeddings'),
        (r'^ln1', 'norm'),
        (_BLOCK + r'ln([12])', r'layers.\1.norm\2'),
        (_BLOCK + r'attn\.gamma1\.weight', r'layers.\1.layer_scale1.lambda1'),
        (_BLOCK + r'attn\.proj', r'layers.\1.attention.o_proj'),
        (_BLOCK + r'attn\.', r'layers.\1.attention.'),
        (_BLOCK + r'ffn\.gamma2\.weight', r'layers.\1.layer_scale2.lambda1'),
        (_BLOCK + r'ffn\.layers\.0\.0', r'layers.\1.mlp.up_proj'),
        (_BLOCK + r'ffn\.(layers\.1|w3)', r'layers.\1.mlp.down_proj'),
        (_BLOCK + r'ffn\.', r'layers.\1.mlp.'),
    )
    out = _named(state, (*pairs, *_HF))
    return _named(out, ((r'^layers', layer),))


def hf_tower(state, arch):
    """CLIP and SigLIP of transformers, without the prefix of whole models."""
    state = dict(state, pos_embed=state['pos_embed'][0])
    state = _split(state, _QKV, _PROJ)
    if 'cls_token' in state:
        state['cls_token'] = state['cls_token'].flatten()
    pairs = (
        (r'^cls_token$', 'embeddings.class_embedding'),
        (r'^pos_embed$', 'embeddings.position_embedding.weight'),
        (r'^patch_embed\.projection', 'embeddings.patch_embedding'),
        (r'^pre_norm', 'pre_layrnorm'),
        (r'^ln1', 'post_layernorm'),
        (_BLOCK + r'ln([12])', r'encoder.layers.\1.layer_norm\2'),
        (_BLOCK + r'attn\.proj', r'encoder.layers.\1.self_attn.out_proj'),
        (_BLOCK + r'attn\.', r'encoder.layers.\1.self_attn.'),
        (_BLOCK + r'ffn\.layers\.0\.0', r'encoder.layers.\1.mlp.fc1'),
        (_BLOCK + r'ffn\.layers\.1', r'encoder.layers.\1.mlp.fc2'),
        (r'^pool\.probe', 'head.probe'),
        (r'^pool\.proj', 'head.attention.out_proj'),
        (r'^pool\.norm', 'head.layernorm'),
        (r'^pool\.(fc[12])', r'head.mlp.\1'),
    )
    for leaf in ('weight', 'bias'):
        if f'pool.q.{leaf}' in state:
            both = [state.pop(f'pool.{part}.{leaf}') for part in ('q', 'kv')]
            state[f'head.attention.in_proj_{leaf}'] = torch.cat(both)
    return _named(state, pairs)


def naflex(state, arch):
    """SigLIP 2 of variable resolution: a linear patch projection."""
    out = hf_tower(state, arch)
    patches = out['embeddings.patch_embedding.weight']
    out['embeddings.patch_embedding.weight'] = patches.permute(0, 2, 3, 1).flatten(1)
    return out


def openai(state, arch):
    """The vision tower of CLIP as OpenAI names it."""
    state = dict(state, pos_embed=state['pos_embed'][0])
    state['cls_token'] = state['cls_token'].flatten()
    pairs = (
        (r'^cls_token$', 'class_embedding'),
        (r'^pos_embed$', 'positional_embedding'),
        (r'^patch_embed\.projection', 'conv1'),
        (r'^pre_norm', 'ln_pre'),
        (r'^ln1', 'ln_post'),
        (_BLOCK + r'ln([12])', r'transformer.resblocks.\1.ln_\2'),
        (_BLOCK + r'attn\.qkv\.', r'transformer.resblocks.\1.attn.in_proj_'),
        (_BLOCK + r'attn\.proj', r'transformer.resblocks.\1.attn.out_proj'),
        (_BLOCK + r'ffn\.layers\.0\.0', r'transformer.resblocks.\1.mlp.c_fc'),
        (_BLOCK + r'ffn\.layers\.1', r'transformer.resblocks.\1.mlp.c_proj'),
    )
    return {**_named(state, pairs), 'proj': torch.ones(WIDTH, 7)}


def pe(state, arch):
    """Perception Encoder as Meta names it."""
    pairs = (
        (r'^pool\.probe', 'attn_pool.probe'),
        (r'^pool\.proj', 'attn_pool.attn.out_proj'),
        (r'^pool\.norm', 'attn_pool.layernorm'),
        (r'^pool\.fc1', 'attn_pool.mlp.c_fc'),
        (r'^pool\.fc2', 'attn_pool.mlp.c_proj'),
    )
    out = openai(state, arch)
    for leaf in ('weight', 'bias'):
        both = [out.pop(f'pool.{part}.{leaf}') for part in ('q', 'kv')]
        out[f'attn_pool.attn.in_proj_{leaf}'] = torch.cat(both)
    return _named(out, pairs)


def npz(state, arch):
    """Google's ViT, and SigLIP of big_vision."""
    siglip = arch.family == 'siglip'
    qkv = tuple(f'{part}.{{}}' for part in ('query', 'key', 'value'))
    state = _split(state, _QKV, qkv)
    for leaf in ('weight', 'bias') if siglip else ():
        q, (k, v) = state.pop(f'pool.q.{leaf}'), state.pop(f'pool.kv.{leaf}').chunk(2)
        for part, value in (('query', q), ('key', k), ('value', v)):
            state[f'pool.attn.{part}.{leaf}'] = value
        state[f'pool.attn.proj.{leaf}'] = state.pop(f'pool.proj.{leaf}')
    numbers = (0, 1, 0, 0) if siglip else (0, 2, 1, 3)
    attention = f'MultiHeadDotProductAttention_{numbers[2]}'
    block = r'Transformer/encoderblock_\1/'
    positions = '' if siglip else 'Transformer/posembed_input/'
    pairs = (
        (r'^cls_token$', 'cls'),
        (r'^pos_embed$', f'{positions}pos_embedding'),
        (r'^patch_embed\.projection', 'embedding'),
        (r'^ln1', 'Transformer/encoder_norm'),
        (_BLOCK + r'ln1', block + f'LayerNorm_{numbers[0]}'),
        (_BLOCK + r'ln2', block + f'LayerNorm_{numbers[1]}'),
        (_BLOCK + r'attn\.proj', block + f'{attention}/out'),
        (_BLOCK + r'attn', block + attention),
        (_BLOCK + r'ffn\.layers\.0\.0', block + f'MlpBlock_{numbers[3]}/Dense_0'),
        (_BLOCK + r'ffn\.layers\.1', block + f'MlpBlock_{numbers[3]}/Dense_1'),
        (r'^pool\.probe', 'MAPHead_0/probe'),
        (r'^pool\.norm', 'MAPHead_0/LayerNorm_0'),
        (r'^pool\.fc1', 'MAPHead_0/MlpBlock_0/Dense_0'),
        (r'^pool\.fc2', 'MAPHead_0/MlpBlock_0/Dense_1'),
        (r'^pool\.attn\.proj', 'MAPHead_0/MultiHeadDotProductAttention_0/out'),
        (r'^pool\.attn', 'MAPHead_0/MultiHeadDotProductAttention_0'),
    )
    out = {}
    for name, value in _named(state, pairs).items():
        name = name.replace('.', '/')
        stem, _, leaf = name.rpartition('/')
        if leaf == 'weight':
            leaf = 'scale' if 'orm' in stem.rpartition('/')[2] else 'kernel'
            value = (
                value.permute(*range(2, value.dim()), 1, 0)
                if value.dim() > 1
                else value
            )
        if stem.endswith(('query', 'key', 'value')):
            value = value.unflatten(-1, (HEADS, -1))
        elif stem.endswith('/out') and leaf == 'kernel':
            value = value.unflatten(0, (HEADS, -1))
        out[
            ('params/img/' if siglip else '') + (f'{stem}/{leaf}' if stem else leaf)
        ] = value.contiguous()
    if siglip:
        out['params/t'] = torch.ones(1)
    return out


def npz_stacked(state, arch):
    """The same with all layers in one array."""
    out, layers = {}, {}
    for name, value in npz(state, arch).items():
        match = re.fullmatch(r'(.*encoderblock)_\d+(/.*)', name)
        if match is None:
            out[name] = value
        else:
            layers.setdefault(match[1] + match[2], []).append(value)
    return {**out, **{name: torch.stack(values) for name, values in layers.items()}}


def mmpretrain(state, arch):
    """As mmpretrain and the converter write it."""
    return dict(state)


def mmseg(state, arch):
    """The ViT of mmsegmentation."""
    pairs = (
        (r'attn\.qkv\.', 'attn.attn.in_proj_'),
        (r'attn\.proj', 'attn.attn.out_proj'),
    )
    return _named(state, pairs)
