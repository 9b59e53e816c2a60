# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Reading figures that the authors' code computed, and the backbone they mean."""

import json
import math
from pathlib import Path

import numpy as np
import torch

from mmvpt.models.vit import PromptedVisionTransformer

DATA = Path(__file__).parents[1] / 'data'
TIMM_TO_MMPRETRAIN = (
    ('patch_embed.proj.', 'patch_embed.projection.'),
    ('blocks.', 'layers.'),
    ('norm1.', 'ln1.'),
    ('norm2.', 'ln2.'),
    ('ls1.gamma', 'attn.gamma1.weight'),
    ('ls2.gamma', 'ffn.gamma2.weight'),
    ('mlp.fc1.', 'ffn.layers.0.0.'),
    ('mlp.fc2.', 'ffn.layers.1.'),
)


def load_golden(name):
    """Return the arrays as float64 tensors, and ``meta`` as a dict.

    A file has one array a type; its ``index`` says of each name in which one it lies,
    what type it is of, where it begins and which shape it has. Equal arrays lie there
    once, and in fewer bytes where they are the same in them.
    """
    with np.load(DATA / f'{name}.npz', allow_pickle=False) as file:
        meta, index = (json.loads(str(file[key])) for key in ('meta', 'index'))
        held = {kind: file[kind] for kind in {kind for kind, *_ in index.values()}}
    golden = {}
    for key, (kind, dtype, begin, shape) in index.items():
        value = held[kind][begin : begin + math.prod(shape)].reshape(shape)
        value = torch.from_numpy(value.astype(dtype))
        golden[key] = value.double() if value.is_floating_point() else value
    return dict(golden, meta=meta)


def golden_backbone(golden, norm='norm', **options):
    """Build the small ViT of a golden file in float64 and load its weights.

    Args:
        golden: What ``load_golden`` returned.
        norm: Which norm of the file is the final one; None for weight 1 and bias 0.
        **options: Further arguments of the backbone.
    """
    meta = golden['meta']
    dims = meta.get('dim', meta.get('width'))
    vit = PromptedVisionTransformer(
        arch=dict(
            embed_dims=dims,
            num_layers=meta['depth'],
            num_heads=meta['heads'],
            feedforward_channels=4 * dims,
        ),
        img_size=meta['image'],
        patch_size=meta['patch'],
        **options,
    ).double()
    state = {}
    for key, value in golden.items():
        name = key.removeprefix('weight/')
        unused = ('transformer.', 'norm.', 'fc_norm.', 'mask_token')
        if name == key or name.startswith(unused):
            continue
        for old, new in TIMM_TO_MMPRETRAIN:
            name = name.replace(old, new)
        state[name] = value
    if vit.final_norm:
        for part, plain in (('weight', torch.ones), ('bias', torch.zeros)):
            given = golden.get(f'weight/{norm}.{part}')
            state[f'ln1.{part}'] = plain(dims).double() if norm is None else given
    missing, unexpected = vit.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    assert all(name.startswith('prompt.') for name in missing), missing
    return vit.eval()


def assert_golden(golden, variant, vit, released):
    """Compare the feature, and whatever gradients of it the file holds.

    Args:
        golden: What ``load_golden`` returned.
        variant: Its name in the file.
        vit: The backbone with the parameters of the variant.
        released: Called with a function of released names and a parameter of ours;
            returns the value of ours.
    """
    feature = vit(golden['images'])[0]
    torch.testing.assert_close(
        feature, golden[f'{variant}/feature'], rtol=0, atol=1e-10
    )
    tuned = {n: p for n, p in vit.prompt.named_parameters() if p.requires_grad}
    cosine = torch.cos(0.5 * torch.arange(feature.shape[1]).double())
    losses = {'grad': feature.square().sum(), 'grad_cos': (feature * cosine).sum()}
    for kind, loss in losses.items():
        begin = f'{variant}/{kind}/'
        held = {
            key[len(begin) :].removeprefix('transformer.'): value
            for key, value in golden.items()
            if key.startswith(begin)
        }
        if not held:
            continue
        grads = torch.autograd.grad(
            loss, tuned.values(), retain_graph=True, allow_unused=True
        )
        for (name, parameter), grad in zip(tuned.items(), grads):
            grad = torch.zeros_like(parameter) if grad is None else grad
            expected = released(held.__getitem__, name).reshape(grad.shape)
            top = float(expected.abs().max())
            torch.testing.assert_close(grad, expected, rtol=1e-8, atol=1e-9 * top)


def vpt_tokens(values):
    """Gather (L, M, C), or (M, C) of shallow prompts, from the names in VPT's code."""
    first = values('prompt_embeddings')
    try:
        return torch.cat([first, values('deep_prompt_embeddings')])
    except KeyError:
        return first[0]
