# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Small random Vision Transformers of timm, and their weights in foreign names."""

import re
from functools import partial
from math import cos, sin

import numpy as np
import torch
from timm.layers import QuickGELU
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.weights.files import Source

WIDTH, DEPTH, HEADS = 24, 3, 3


def timm_vit(seed=0, **options):
    """Return a random ViT in double precision, no weight at a special value."""
    torch.manual_seed(seed)
    settings = dict(
        img_size=32,
        patch_size=8,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=5,
    )
    vit = VisionTransformer(**{**settings, **options}).double().eval()
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.3)
    return vit


def fixed_positions(vit):
    """Give a ViT the sines and cosines of MAE and MoCo v3, zeros at the class token."""
    rows, dims = vit.pos_embed.shape[1:]
    side = int((rows - 1) ** 0.5)
    omega = [10000 ** (-4 * k / dims) for k in range(dims // 4)]
    for row in range(side):
        for column in range(side):
            values = [
                f(x * w) for x in (column, row) for f in (sin, cos) for w in omega
            ]
            vit.pos_embed.data[0, 1 + row * side + column] = torch.tensor(values)
    vit.pos_embed.data[0, 0] = 0
    return vit


def clip_vit(act_layer=QuickGELU, **options):
    """Return timm's ViT with the parts that CLIP has."""
    return timm_vit(
        pre_norm=True,
        act_layer=act_layer,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
        **options,
    )


def source(state, container=None):
    """Wrap a state dict as if it had been read from a file."""
    return Source(dict(state), container, {}, 'random.pth')


def ours(converted, **options):
    """Build our backbone for converted weights and load them strictly."""
    options = {**converted.architecture.backbone_options(), **options}
    vit = PromptedVisionTransformer(**{'out_type': 'raw', **options}).double().eval()
    missing, unexpected = vit.load_state_dict(converted.state, strict=False)
    assert not unexpected and set(missing) <= {'ln2.weight', 'ln2.bias'}
    return vit


def google(vit):
    """Return the weights of a timm ViT as arrays in the layout of Google's npz."""
    heads = vit.blocks[0].attn.num_heads
    state = {k: v.detach().numpy() for k, v in vit.state_dict().items()}
    dims = state['cls_token'].shape[-1]
    out = {
        'cls': state['cls_token'],
        'embedding/kernel': state['patch_embed.proj.weight'].transpose(2, 3, 1, 0),
        'embedding/bias': state['patch_embed.proj.bias'],
        'Transformer/posembed_input/pos_embedding': state['pos_embed'],
        'Transformer/encoder_norm/scale': state['norm.weight'],
        'Transformer/encoder_norm/bias': state['norm.bias'],
        'head/kernel': state['head.weight'].T,
        'head/bias': state['head.bias'],
        'pre_logits/kernel': np.zeros((dims, dims)),
        'pre_logits/bias': np.zeros(dims),
    }
    for i in range(len(vit.blocks)):
        old, new = f'blocks.{i}.', f'Transformer/encoderblock_{i}/'
        for norm, theirs in ((1, 0), (2, 2)):
            out[f'{new}LayerNorm_{theirs}/scale'] = state[f'{old}norm{norm}.weight']
            out[f'{new}LayerNorm_{theirs}/bias'] = state[f'{old}norm{norm}.bias']
        for fc in (1, 2):
            dense = f'{new}MlpBlock_3/Dense_{fc - 1}/'
            out[f'{dense}kernel'] = state[f'{old}mlp.fc{fc}.weight'].T
            out[f'{dense}bias'] = state[f'{old}mlp.fc{fc}.bias']
        attn = f'{new}MultiHeadDotProductAttention_1/'
        weights = np.split(state[f'{old}attn.qkv.weight'], 3)
        biases = np.split(state[f'{old}attn.qkv.bias'], 3)
        for part, weight, bias in zip(('query', 'key', 'value'), weights, biases):
            out[f'{attn}{part}/kernel'] = weight.T.reshape(dims, heads, -1)
            out[f'{attn}{part}/bias'] = bias.reshape(heads, -1)
        projection = state[f'{old}attn.proj.weight'].T
        out[f'{attn}out/kernel'] = projection.reshape(heads, -1, dims)
        out[f'{attn}out/bias'] = state[f'{old}attn.proj.bias']
    return out


def openai_clip(img_size=32, patch=8, seed=0):
    """Return random weights of a CLIP model, both towers, in OpenAI's names."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64) * 0.3

    def tower(prefix):
        state = {}
        for i in range(DEPTH):
            block = f'{prefix}transformer.resblocks.{i}.'
            state[block + 'attn.in_proj_weight'] = draw(3 * WIDTH, WIDTH)
            state[block + 'attn.in_proj_bias'] = draw(3 * WIDTH)
            for name, shape in (
                ('attn.out_proj', (WIDTH, WIDTH)),
                ('mlp.c_fc', (4 * WIDTH, WIDTH)),
                ('mlp.c_proj', (WIDTH, 4 * WIDTH)),
            ):
                state[f'{block}{name}.weight'] = draw(*shape)
                state[f'{block}{name}.bias'] = draw(shape[0])
            for norm in ('ln_1', 'ln_2'):
                state[f'{block}{norm}.weight'] = draw(WIDTH)
                state[f'{block}{norm}.bias'] = draw(WIDTH)
        return state

    state = {
        'visual.class_embedding': draw(WIDTH),
        'visual.positional_embedding': draw(1 + (img_size // patch) ** 2, WIDTH),
        'visual.conv1.weight': draw(WIDTH, 3, patch, patch),
        'visual.proj': draw(WIDTH, 7),
        **tower('visual.'),
        **tower(''),
        'token_embedding.weight': draw(11, WIDTH),
        'positional_embedding': draw(6, WIDTH),
        'text_projection': draw(WIDTH, 7),
        'logit_scale': draw(1),
    }
    for norm in ('visual.ln_pre', 'visual.ln_post', 'ln_final'):
        state[f'{norm}.weight'], state[f'{norm}.bias'] = draw(WIDTH), draw(WIDTH)
    return state


def hf_clip(openai):
    """Return the vision tower of OpenAI's weights in Hugging Face's names."""
    names = (
        (r'^visual\.class_embedding', 'embeddings.class_embedding'),
        (r'^visual\.positional_embedding', 'embeddings.position_embedding.weight'),
        (r'^visual\.conv1', 'embeddings.patch_embedding'),
        (r'^visual\.ln_pre', 'pre_layrnorm'),
        (r'^visual\.ln_post', 'post_layernorm'),
        (r'^visual\.transformer\.resblocks', 'encoder.layers'),
        (r'\.ln_([12])\.', r'.layer_norm\1.'),
        (r'\.attn\.out_proj', '.self_attn.out_proj'),
        (r'\.c_fc', '.fc1'),
        (r'\.c_proj', '.fc2'),
    )
    out = {
        'logit_scale': torch.ones(()),
        'visual_projection.weight': torch.ones(7, WIDTH),
        'text_model.final_layer_norm.weight': torch.ones(WIDTH),
    }
    for key, value in openai.items():
        if not key.startswith('visual.') or key == 'visual.proj':
            continue
        for pattern, replacement in names:
            key = re.sub(pattern, replacement, key)
        match = re.match(r'(.*)\.attn\.in_proj_(\w+)', key)
        if match is None:
            out[f'vision_model.{key}'] = value
            continue
        for part, chunk in zip('qkv', value.chunk(3)):
            key = f'vision_model.{match[1]}.self_attn.{part}_proj.{match[2]}'
            out[key] = chunk
    return out
