# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Loading weights into the backbone, strictly."""

from __future__ import annotations

import math
import re

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from mmvpt.checkpoint.fingerprint import MARK, complete_state
from mmvpt.errors import UserError
from mmvpt.weights import FAMILIES, read_weights
from mmvpt.weights.architecture import grid_of_image
from mmvpt.weights.positions import as_grid

# What may be absent: our own parameters, and mmpretrain's norm of ``avg_featmap``.
_OURS = re.compile(r'prompt\..*|(.*\.)?(tuned_bias|adapter)\..*|ln2\..*')
# What would change the features if it were left out.
_COMPUTES = re.compile(r'(layers|pre_norm|patch_embed)\.|(reg|pos|cls)_')


def load_pretrained(
    backbone: nn.Module,
    checkpoint: str,
    prefix: str | None = None,
    key: str | None = None,
    grid: tuple[int, int] | None = None,
    map_location: str = 'cpu',
    **_: object,
) -> None:
    """Load pretrained weights, which are converted if they have other names.

    Args:
        backbone: The ``PromptedVisionTransformer``.
        checkpoint: ``mmvpt://NAME``, ``timm://NAME``, ``hf://ORG/NAME``, a file, a
            folder of Hugging Face or a URL; read without running code from it.
        prefix: What stands before the backbone's names; found by itself if there is
            one set of weights.
        key: Under which the weights lie, where a file has several sets.
        grid: Rows and columns of patches that the positions are of, where nothing in
            the file tells.
        map_location: Device that tensors are read to.
        **_: The other keys of an ``init_cfg``; ``NormalizationHook`` reads
            ``normalization``.

    Raises:
        UserError: If the checkpoint lacks weights, has none of this backbone, has some
            that it would leave out, or does not fit in width, depth, heads, activation,
            epsilon, patch size or positions.
    """
    grid = as_grid(grid)
    state, facts = read_weights(checkpoint, map_location, prefix, key, grid)
    if MARK in state:
        raise UserError(
            f'{checkpoint} holds tuned weights without frozen ones. Name the frozen '
            'weights in init_cfg and give this file as the checkpoint to load, or make '
            'a full checkpoint of it with tools/merge.py.'
        )
    _check_names(state, checkpoint, prefix)
    options = facts.get('backbone')
    facts = facts.get('architecture') or {}
    _check_facts(backbone, facts, options, checkpoint)
    noted = _noted_grid(facts)
    if grid and noted and grid != noted:
        raise UserError(
            f'init_cfg has grid={grid}, but the positions of {checkpoint} are of '
            f'{noted[0]} x {noted[1]} patches, as is noted in it. Leave grid out.'
        )
    if backbone.final_norm_source in ('fresh-frozen', 'fresh-trained'):
        state = {n: v for n, v in state.items() if not n.startswith('ln1.')}
    backbone.positions_resized = fit_positions(
        backbone, state, '', grid or noted, checkpoint
    )
    missing, unexpected = backbone.load_state_dict(state, strict=False)
    fresh = backbone.final_norm_source in ('fresh-frozen', 'fresh-trained')
    missing = [
        name
        for name in missing
        if not _OURS.fullmatch(name) and not (fresh and name.startswith('ln1.'))
    ]
    if missing:
        raise UserError(
            f'{checkpoint} lacks {len(missing)} weights of this backbone: '
            f'{_some(missing)}. Check arch, qkv_bias, pre_norm, '
            'layer_scale_init_value and final_norm against the checkpoint.'
        )
    left_out = [name for name in unexpected if _COMPUTES.match(name)]
    if left_out:
        raise UserError(
            f'{checkpoint} has {len(left_out)} weights that this backbone would leave '
            f'out: {_some(left_out)}. Set layer_scale_init_value, pre_norm, qkv_bias '
            'or patch_cfg as the checkpoint was trained.'
        )
    if unexpected:
        print_log(
            f'{checkpoint}: {len(unexpected)} keys are not part of the backbone and '
            f'were left: {_some(unexpected)}',
            logger='current',
        )


def check_state(
    backbone: nn.Module,
    state: dict[str, Tensor],
    prefix: str,
    *_: object,
) -> None:
    """Resize positions; refuse a state of another width, depth or prompt.

    A pre-hook of ``load_state_dict``, so that it also guards ``load_from``, ``resume``
    and test, where mmengine would only log and go on with random weights. A state of
    tuned weights alone is completed with the frozen ones it belongs to.

    Raises:
        ValueError: Naming the weights, both shapes and the option to change.
        FingerprintError: If tuned weights belong to other frozen ones.
    """
    fit_positions(backbone, state, prefix)
    own = backbone.state_dict()
    given = {n[len(prefix) :]: v for n, v in state.items() if n.startswith(prefix)}
    differing = [
        f'{name} is {tuple(value.shape)} in the checkpoint and '
        f'{tuple(own[name].shape)} in the model'
        for name, value in given.items()
        if name in own and own[name].shape != value.shape
    ]
    if differing:
        raise UserError(
            f'the checkpoint does not fit the backbone: {_some(differing, 3)}. Set '
            'arch, patch_size, in_channels or the prompt (num_tokens) as the '
            'checkpoint was trained.'
        )
    complete_state(backbone, state, prefix)
    names = [n[len(prefix) :] for n in state if n.startswith(prefix)]
    depth = {int(m[1]) for m in (re.match(r'layers\.(\d+)\.', n) for n in names) if m}
    if depth and max(depth) + 1 != backbone.num_layers:
        raise UserError(
            f'the checkpoint has {max(depth) + 1} layers and the model '
            f'{backbone.num_layers}; set arch to the depth of the checkpoint.'
        )


def fit_positions(
    backbone: nn.Module,
    state: dict[str, Tensor],
    prefix: str = '',
    grid: tuple[int, int] | None = None,
    checkpoint: str | None = None,
) -> bool:
    """Resize loaded positions wherever their grid is another than the backbone's.

    Args:
        backbone: The ``PromptedVisionTransformer``.
        state: Changed in place.
        prefix: What stands before the backbone's names in ``state``.
        grid: Rows and columns that they are of; a square one if None, or, in weights
            of a model that was trained (``checkpoint`` is None), the backbone's.
        checkpoint: The pretrained file, for messages.

    Returns:
        Whether they were resized.

    Raises:
        UserError: If their grid is unknown.
    """
    name, extra = f'{prefix}pos_embed', int(backbone.with_cls_token)
    loaded, own = state.get(name), tuple(backbone.patch_resolution)
    if loaded is None or backbone.pos_embed is None:
        return False
    if not extra and loaded.shape[1] == backbone.pos_embed.shape[1] + 1:
        loaded = state[name] = loaded[:, 1:]  # the row of a class token
    count = loaded.shape[1] - extra
    side = math.isqrt(max(count, 0))
    fits, square = count == math.prod(own), side**2 == count
    if grid is None and fits and own[0] != own[1] and square and checkpoint is not None:
        raise UserError(
            f'the {count} positions of {checkpoint} are of {side} x {side} patches, to '
            f'be resized, or of {own[0]} x {own[1]} patches as img_size='
            f'{tuple(backbone.img_size)} has. Say which: '
            f"init_cfg=dict(type='Pretrained', checkpoint=..., grid=({side}, {side})), "
            f'or grid={own}.'
        )
    if grid is None and not fits and not square:
        raise UserError(
            f'the position embedding in the checkpoint has {count} patches, no square '
            'number, so its grid is unknown and it cannot be resized. Set img_size to '
            'the size it was trained at, or grid=(ROWS, COLUMNS) in init_cfg.'
        )
    grid = grid or (own if fits else (side, side))
    state[name] = resize_positions(loaded, grid, own, backbone.interpolate_mode, extra)
    return grid != own


def resize_positions(
    positions: Tensor,
    given: tuple[int, int],
    wanted: tuple[int, int],
    mode: str,
    num_extra: int,
    shortcut: bool = True,
) -> Tensor:
    """Resize a position embedding to another grid, in float32 as mmpretrain does.

    Args:
        positions: (1, num_extra + N, C).
        given: Rows and columns that it is for.
        wanted: Rows and columns to resize to.
        mode: One of ``mmvpt.weights.families.RESIZING``.
        num_extra: Rows before the patches, which stay.
        shortcut: Return the embedding as it is for its own grid; without, a traced
            graph is for every grid.
    """
    if shortcut and tuple(given) == tuple(wanted):
        return positions
    extra, patches = positions.tensor_split([num_extra], dim=1)
    mode, _, antialias = mode.partition('-')
    resized = F.interpolate(
        patches.unflatten(1, tuple(given)).permute(0, 3, 1, 2).float(),
        size=tuple(wanted),
        mode=mode,
        align_corners=None if mode == 'nearest' else False,
        antialias=bool(antialias),
    )
    return torch.cat((extra, resized.flatten(2).mT.to(patches.dtype)), dim=1)


def _noted_grid(facts: dict) -> tuple[int, int] | None:
    """Return the grid that the converter noted."""
    sides, patch = facts.get('img_size'), facts.get('patch_size')
    if not sides or not patch:
        return None
    return grid_of_image(sides, patch)


def _check_facts(
    backbone: nn.Module, facts: dict, options: dict | None, checkpoint: str
) -> None:
    """Compare with what the converter noted and no shape tells.

    Raises:
        UserError: Naming every fact that differs, and the arguments for the weights.
    """
    layer = backbone.layers[0]
    types = [type(module).__name__ for module in layer.ffn.modules()]
    found = dict(
        num_heads=layer.attn.num_heads,
        activation='quick_gelu' if 'QuickGELU' in types else backbone.act,
        norm_eps=getattr(layer.ln1, 'eps', None),
        num_registers=backbone.num_extra_tokens - backbone.with_cls_token,
        interpolate_mode=backbone.interpolate_mode,
        rope_dtype=None if backbone.rope_dtype == 'float64' else backbone.rope_dtype,
    )
    if facts.get('family') and _rotation(facts['family']) != _rotation(backbone.family):
        found['family'] = backbone.family
    differing = [
        f'{key}={facts[key]!r}, the backbone has {value!r}'
        for key, value in found.items()
        if key in facts and facts[key] != value
        if facts[key] is not None or key == 'rope_dtype'
    ]
    if differing:
        line = ', '.join(f'{k}={v!r}' for k, v in (options or {}).items())
        set_to = dict(num_heads='arch', activation='act', norm_eps='norm_cfg')
        first = differing[0].partition('=')[0]
        raise UserError(
            f'{checkpoint} was trained with {"; with ".join(differing)}. Set '
            f'{set_to.get(first, first)}'
            + (f'; for these weights: {line}.' if line else '.')
        )


def _rotation(family: str) -> str | None:
    return FAMILIES[family].rotation if family in FAMILIES else None


def _check_names(state: dict[str, Tensor], checkpoint: str, prefix: str | None) -> None:
    if any(name.startswith('layers.') for name in state):
        return
    raise UserError(
        f'{checkpoint} has no weight layers.* under the prefix {prefix!r}; its keys '
        f'are {_some(list(state))}. Set the prefix in init_cfg.'
    )


def _some(names: list[str], count: int = 5) -> str:
    rest = len(names) - count
    return ', '.join(names[:count]) + (f' and {rest} more' if rest > 0 else '')
