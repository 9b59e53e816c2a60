# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Any backbone in the place of the one that a config has."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmvpt.engine.run import load_config
from mmvpt.errors import UserError
from mmvpt.weights import (
    NORMALIZATIONS,
    Converted,
    as_normalization,
    convert,
    normalization,
)
from mmvpt.weights.architecture import ARCHITECTURES, SIZES
from mmvpt.weights.families import FAMILIES
from mmvpt.weights.names import SCHEME, known_checkpoint
from mmvpt.weights.timm_source import TIMM_PREFIXES

#: Short names of known checkpoints; a row here, and every cell of the zoo has it.
NAMED = {
    'dinov2-b': 'vit-base-p14_dinov2',
    'dinov2-l': 'vit-large-p14_dinov2',
    'dinov2-reg-b': 'vit-base-p14_dinov2-reg',
    'dinov2-reg-l': 'vit-large-p14_dinov2-reg',
    'dinov3-b': 'vit-base-p16_dinov3',
    'dinov3-l': 'vit-large-p16_dinov3',
    'siglip2-b': 'vit-base-p16_siglip2-256',
    'siglip2-l': 'vit-large-p16_siglip2-256',
}
#: What says which backbone it is; prompts, tuned parts and outputs are the method's.
KEYS = (
    *('type', 'arch', 'img_size', 'patch_size', 'in_channels', 'init_cfg', 'pre_norm'),
    *('qkv_bias', 'final_norm', 'norm_cfg', 'patch_cfg', 'layer_cfgs'),
    *('layer_scale_init_value', 'num_registers', 'act', 'pooling', 'with_cls_token'),
    *('norm_before_pool', 'interpolate_mode', 'rope_dtype'),
)
#: Keys of necks and heads whose numbers are the width of the backbone.
_WIDTHS = (
    *('in_channels', 'out_channels', 'embed_dim', 'embed_dims', 'channels'),
    'input_features',
)
#: What an old backbone may set of its family, and what lets the new one settle it.
_OF_FAMILY = dict.fromkeys(
    ('qkv_bias', 'norm_cfg', 'layer_scale_init_value', 'num_registers', 'act')
    + ('with_cls_token', 'interpolate_mode', 'pre_norm')
)
_OF_FAMILY.update(rope_dtype='float64')
#: What ``davpt+`` tunes where there is no class token.
_DAVPT_PLUS_BIASES = [f'layers.*.attn.qkv.bias.{part}' for part in ('key', 'value')]


def find_backbone(named: str, known: str) -> dict[str, Any]:
    """Return the settings of a backbone that is named by a config, weights or family.

    Args:
        named: One of ``NAMED``; a config (``.py``), whose backbone is taken; a file of
            weights; ``mmvpt://NAME`` or ``timm://NAME``; or FAMILY-SIZE such as
            ``dinov2-s``, whose weights are to be named in the config.
        known: What else could have been given, for the message.

    Raises:
        UserError: If it is none of these.
    """
    if named.endswith('.py'):
        settings = load_config(named).model.backbone.to_dict()
        return {key: settings[key] for key in KEYS if key in settings}
    short = next(
        (n for n in NAMED if n in SIZES and SIZES[n] == SIZES.get(named)), named
    )
    if short in NAMED:
        named = SCHEME + NAMED[short]
    if named.startswith(SCHEME):
        checkpoint = known_checkpoint(named)
        return dict(
            arch=checkpoint.arch,
            patch_size=checkpoint.patch_size,
            init_cfg=_pretrained(named),
        )
    is_file = Path(named).expanduser().exists()
    if is_file or named.startswith(TIMM_PREFIXES):
        converted = convert(os.path.expanduser(named))
        if is_file:
            _check_file(named, converted)
        architecture = converted.architecture
        return dict(
            architecture.backbone_options(),
            patch_size=architecture.patch_size,  # a config has one that is to go
            init_cfg=_pretrained(named),
        )
    if named in SIZES:
        family, size = SIZES[named]
        patch_size = size.patch_size or FAMILIES[family].patch_size
        return dict(arch=named, patch_size=patch_size, init_cfg=None)
    raise UserError(
        f'--backbone {named}: {known}. Other backbones are {", ".join(NAMED)}, or '
        'given by a config (.py), a file of weights, mmvpt://NAME, timm://NAME, or '
        f'FAMILY-SIZE ({", ".join(SIZES)}), whose weights are to be named in the '
        'config.'
    )


def _check_file(named: str, converted: Converted) -> None:
    """Refuse a file that configs cannot name, or whose images nobody knows."""
    foreign = converted.format != 'mmpretrain'
    unknown = converted.normalization is None
    if not foreign and not unknown:
        return
    reasons = [f'has the format {converted.format!r}'] * foreign
    reasons += ['does not tell how its images were normalised'] * unknown
    option = f' --normalization {{{",".join(NORMALIZATIONS)}}}' * unknown
    raise UserError(
        f'--backbone {named} {" and ".join(reasons)}. Convert it first and give the '
        f'result:\n  python tools/weights/convert.py {named} '
        f'checkpoints/{Path(named).stem}_mmvpt.safetensors{option}'
    )


def _pretrained(checkpoint: str) -> dict[str, Any]:
    return dict(_delete_=True, type='Pretrained', checkpoint=checkpoint)


def other_backbone(inherited: Config, backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a config whose backbone is replaced.

    Widths of neck and heads follow, layers that are read or guided, the size and the
    normalisation of the images.

    Args:
        inherited: The config.
        backbone: What :func:`find_backbone` returns.
    """
    model = inherited.model.to_dict()
    old = model['backbone']
    patch_size = backbone.get('patch_size') or old.get('patch_size', 16)
    size = _whole(old['img_size'], patch_size)
    first = {key: backbone[key] for key in ('arch',) if key in backbone}
    new = {**first, 'img_size': size, **backbone}
    for key in ('init_cfg', 'arch'):  # in the place of what is inherited
        if isinstance(new.get(key), Mapping):
            new[key] = dict(new[key], _delete_=True)
    for key, value in _OF_FAMILY.items():
        if key in old:
            new.setdefault(key, value)
    (width, depth), (new_width, new_depth) = (
        _shape(part.get('arch', old.get('arch'))) for part in (old, new)
    )
    indices = old.get('out_indices')
    if isinstance(indices, (list, tuple)) and new_depth != depth:
        new['out_indices'] = tuple((i + 1) * new_depth // depth - 1 for i in indices)
    prompt = old.get('prompt') or {}
    if 'guided_layers' in prompt and new_depth != depth:
        layers = [i - depth if i >= 0 else i for i in prompt['guided_layers']]
        new['prompt'] = dict(guided_layers=tuple(layers))
    changed: dict[str, Any] = {
        key: found
        for key, part in model.items()
        if key != 'backbone' and (found := _resized(part, width, new_width))
    }
    settings = _images(inherited, new, patch_size)
    changed = {**settings.pop('model', {}), 'backbone': new, **changed}
    test = model.get('test_cfg') or {}
    if test.get('crop_size') and test['crop_size'][0] % patch_size:
        crop = _whole(test['crop_size'][0], patch_size)
        changed['test_cfg'] = dict(crop_size=(crop,) * 2, stride=(2 * crop // 3,) * 2)
    return {**settings, 'model': changed}


def without_cls(settings: Config) -> dict[str, Any]:
    """Return what a config needs to be changed in where there is no class token.

    Metric guidance leaves out its term, ``davpt+`` tunes the biases alone.

    Args:
        settings: The config with its backbone.
    """
    backbone = settings.model.backbone
    arch = backbone.arch
    family = 'vit'
    if isinstance(arch, Mapping):
        family = arch.get('family', family)
    elif arch in SIZES:
        family = SIZES[arch][0]
    if backbone.get('with_cls_token', FAMILIES[family].with_cls_token):
        return {}
    found: dict[str, Any] = {}
    if backbone.get('tunable') == 'davpt+':
        found['model'] = dict(backbone=dict(tunable=_DAVPT_PLUS_BIASES))
    if 'metric_guidance' in (settings.get('default_hooks') or {}):
        found['default_hooks'] = dict(metric_guidance=dict(cls_weight=0.0))
    return found


def _whole(size: int | Sequence[int], patch_size: int) -> Any:
    """Return a size in pixels, or several, filled up to whole patches."""
    if isinstance(size, int):
        return -(-size // patch_size) * patch_size
    return tuple(_whole(side, patch_size) for side in size)


def _images(
    inherited: Config, backbone: Mapping[str, Any], patch_size: int
) -> dict[str, Any]:
    """Return the preprocessor's settings: normalised as pretrained, whole patches."""
    at_model = inherited.model.get('data_preprocessor')
    used = at_model or inherited.get('data_preprocessor') or {}
    init = backbone.get('init_cfg') or {}
    stated = init.get('normalization')
    wanted = as_normalization(stated) if stated else None
    if wanted is None and 'checkpoint' in init:
        wanted = normalization(init['checkpoint'])
    found: dict[str, Any] = {}
    if wanted is not None and 'mean' in used:
        present = as_normalization(dict(mean=list(used['mean']), std=list(used['std'])))
        if not wanted.is_close(present):
            found.update(mean=list(wanted.mean), std=list(wanted.std))
    if 'size' in used:
        sides = _whole(tuple(used['size']), patch_size)
        if sides != tuple(used['size']):
            found['size'] = sides
        found['test_cfg'] = dict(size_divisor=patch_size)
    if not found:
        return {}
    found = dict(data_preprocessor=found)
    return dict(model=found) if at_model else found


def _shape(arch: Any) -> tuple[int, int]:
    """Return width and depth of an ``arch``."""
    if isinstance(arch, Mapping):
        return arch['embed_dims'], arch['num_layers']
    width, depth = ARCHITECTURES[arch][:2]
    return width, depth


def _resized(part: Any, width: int, new: int) -> Any:
    """Return what differs in a part of the model for another width of the backbone."""
    if width == new or not isinstance(part, (Mapping, list)):
        return None
    if isinstance(part, list):  # of heads: written anew as a whole
        return [{**head, **(_resized(head, width, new) or {})} for head in part]
    found: dict[str, Any] = {}
    for key, value in part.items():
        if key in _WIDTHS and value == width:
            found[key] = new
        elif key in _WIDTHS and isinstance(value, (list, tuple)):
            found[key] = [new if item == width else item for item in value]
        elif isinstance(value, Mapping) and (inner := _resized(value, width, new)):
            found[key] = inner
    return found
