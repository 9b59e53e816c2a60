# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Any backbone in the place of the one that a config of the zoo has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmvpt.engine.run import load_config
from mmvpt.errors import UserError
from mmvpt.weights import convert
from mmvpt.weights.architecture import ARCHITECTURES, SIZES
from mmvpt.weights.families import FAMILIES
from mmvpt.weights.names import SCHEME, known_checkpoint
from mmvpt.weights.timm_source import TIMM_PREFIXES

#: What says which backbone it is; prompts, tuned parts and outputs are the method's.
KEYS = (
    *('type', 'arch', 'img_size', 'patch_size', 'in_channels', 'init_cfg', 'pre_norm'),
    *('qkv_bias', 'final_norm', 'norm_cfg', 'patch_cfg', 'layer_cfgs'),
    *('layer_scale_init_value', 'num_registers', 'act', 'pooling', 'with_cls_token'),
    *('norm_before_pool', 'interpolate_mode', 'rope_dtype'),
)
#: Keys of necks and heads whose numbers are the width of the backbone.
_WIDTHS = ('in_channels', 'out_channels', 'embed_dim', 'embed_dims')


def find_backbone(named: str, known: str) -> dict[str, Any]:
    """Return the settings of a backbone that is named by a config, weights or family.

    Args:
        named: A config (``.py``), whose backbone is taken; a file of weights;
            ``mmvpt://NAME`` or ``timm://NAME``; or FAMILY-SIZE such as ``dinov2-s``,
            whose weights are to be named in the config.
        known: What else could have been given, for the message.

    Raises:
        UserError: If it is none of these.
    """
    if named.endswith('.py'):
        settings = load_config(named).model.backbone.to_dict()
        return {key: settings[key] for key in KEYS if key in settings}
    if named.startswith(SCHEME):
        checkpoint = known_checkpoint(named)
        return dict(
            arch=checkpoint.arch,
            img_size=checkpoint.image_size,
            patch_size=checkpoint.patch_size,
            init_cfg=_pretrained(named),
        )
    is_file = Path(named).expanduser().exists()
    if is_file or named.startswith(TIMM_PREFIXES):
        converted = convert(os.path.expanduser(named))
        if is_file and converted.format != 'mmpretrain':
            target = f'checkpoints/{Path(named).stem}.safetensors'
            raise UserError(
                f'--backbone {named} has the format {converted.format!r}. Convert it '
                f'first and give the result:\n  python tools/weights/convert.py '
                f'{named} {target}'
            )
        return dict(
            converted.architecture.backbone_options(), init_cfg=_pretrained(named)
        )
    if named in SIZES:
        family, size = SIZES[named]
        patch_size = size.patch_size or FAMILIES[family].patch_size
        return dict(arch=named, patch_size=patch_size, init_cfg=None)
    raise UserError(
        f'--backbone {named}: {known}. Other backbones are given by a config (.py), a '
        'file of weights, mmvpt://NAME, timm://NAME, or FAMILY-SIZE '
        f'({", ".join(SIZES)}), whose weights are to be named in the config.'
    )


def _pretrained(checkpoint: str) -> dict[str, Any]:
    return dict(_delete_=True, type='Pretrained', checkpoint=checkpoint)


def other_backbone(inherited: Config, backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a model whose backbone is replaced.

    Widths of neck and heads follow, and so do the numbers of layers that the config
    reads or guides.

    Args:
        inherited: The config of the zoo.
        backbone: What :func:`find_backbone` returns.
    """
    model = inherited.model.to_dict()
    old, settings = model['backbone'], dict(backbone)
    if 'init_cfg' in settings and settings['init_cfg']:
        settings['init_cfg'] = dict(settings['init_cfg'], _delete_=True)
    (width, depth), (new_width, new_depth) = (
        _shape(part.get('arch', old.get('arch'))) for part in (old, settings)
    )
    indices = old.get('out_indices')
    if isinstance(indices, (list, tuple)) and new_depth != depth:
        settings['out_indices'] = tuple(
            (i + 1) * new_depth // depth - 1 for i in indices
        )
    prompt = old.get('prompt') or {}
    if 'guided_layers' in prompt and new_depth != depth:
        layers = [i - depth if i >= 0 else i for i in prompt['guided_layers']]
        settings['prompt'] = dict(guided_layers=tuple(layers))
    changed = {
        key: found
        for key, part in model.items()
        if key != 'backbone' and (found := _resized(part, width, new_width))
    }
    return dict(backbone=settings, **changed)


def _shape(arch: Any) -> tuple[int, int]:
    """Return width and depth of an ``arch``."""
    if isinstance(arch, Mapping):
        return arch['embed_dims'], arch['num_layers']
    return ARCHITECTURES[arch][:2]


def _resized(part: Any, width: int, new: int) -> Any:
    """Return what differs in a part of the model for another width of the backbone."""
    if width == new or not isinstance(part, (Mapping, list)):
        return None
    if isinstance(part, list):  # of heads: written anew as a whole
        return [{**head, **(_resized(head, width, new) or {})} for head in part]
    found = {}
    for key, value in part.items():
        if key in _WIDTHS and value == width:
            found[key] = new
        elif key in _WIDTHS and isinstance(value, (list, tuple)):
            found[key] = [new if item == width else item for item in value]
        elif isinstance(value, Mapping) and (inner := _resized(value, width, new)):
            found[key] = inner
    return found
