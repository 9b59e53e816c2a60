# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Reading figures that the authors' code computed, and the backbone they mean."""

import json
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
    ('mlp.fc1.', 'ffn.layers.0.0.'),
    ('mlp.fc2.', 'ffn.layers.1.'),
)


def load_golden(name):
    """Return the arrays as float64 tensors, and ``meta`` as a dict."""
    with np.load(DATA / f'{name}.npz', allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    meta = json.loads(str(arrays.pop('meta')))
    golden = {key: torch.from_numpy(value) for key, value in arrays.items()}
    golden = {k: v.double() if v.is_floating_point() else v for k, v in golden.items()}
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
        if name == key or name.startswith(('transformer.', 'norm.', 'fc_norm.')):
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
