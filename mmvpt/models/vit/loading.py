# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Loading weights into the backbone, strictly."""

from __future__ import annotations

import logging
import math
import re

from mmengine.logging import print_log
from torch import Tensor, nn

from mmvpt.checkpoint.fingerprint import MARK, complete_state
from mmvpt.errors import UserError
from mmvpt.weights import read_weights

# What may be absent: our own parameters, and mmpretrain's norm of ``avg_featmap``.
_OURS = re.compile(r'prompt\..*|(.*\.)?(tuned_bias|adapter)\..*|ln2\..*')
# What would change the features if it were left out.
_COMPUTES = re.compile(r'(layers|pre_norm|patch_embed)\.')


def load_pretrained(
    backbone: nn.Module,
    checkpoint: str,
    prefix: str | None = None,
    map_location: str = 'cpu',
    **_: object,
) -> None:
    """Load pretrained weights in mmpretrain's names.

    Args:
        backbone: The ``PromptedVisionTransformer``.
        checkpoint: ``mmvpt://NAME``, ``timm://NAME``, a file or a URL; read without
            running code from it.
        prefix: What stands before the backbone's names; found by itself if it is
            ``backbone.``.
        map_location: Device that tensors are read to.
        **_: The other keys of an ``init_cfg``; ``NormalizationHook`` reads
            ``normalization``.

    Raises:
        ValueError: If the checkpoint lacks weights, has none of this backbone, has some
            that it would leave out, or does not fit in width, depth, heads, activation,
            patch size or positions.
        CheckpointError: If it cannot be read.
    """
    state, facts = read_weights(checkpoint, map_location=map_location)
    _check_facts(backbone, facts.get('architecture') or {}, checkpoint)
    for key in ('state_dict', 'model'):
        if isinstance(state.get(key), dict):
            state = state[key]
    if prefix is None and any(name.startswith('backbone.') for name in state):
        prefix = 'backbone.'
    if prefix:
        prefix = prefix.rstrip('.') + '.'
        state = {n[len(prefix) :]: v for n, v in state.items() if n.startswith(prefix)}
    if backbone.final_norm_source in ('fresh-frozen', 'fresh-trained'):
        state = {n: v for n, v in state.items() if not n.startswith('ln1.')}
    if MARK in state:
        raise UserError(
            f'{checkpoint} holds tuned weights without frozen ones. Name the frozen '
            'weights in init_cfg and give this file as the checkpoint to load, or make '
            'a full checkpoint of it with tools/merge.py.'
        )
    _check_names(state, checkpoint, prefix)

    positions = state.get('pos_embed')
    backbone.positions_resized = (
        positions is not None
        and backbone.pos_embed is not None
        and positions.shape != backbone.pos_embed.shape
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
    """Refuse a state of another width, depth or prompt before anything is loaded.

    A pre-hook of ``load_state_dict``, so that it also guards ``load_from``, ``resume``
    and test, where mmengine would only log and go on with random weights. A state of
    tuned weights alone is completed with the frozen ones it belongs to.

    Raises:
        ValueError: Naming the weights, both shapes and the option to change.
        FingerprintError: If tuned weights belong to other frozen ones.
    """
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


def check_square(pos_embed: Tensor, num_extra: int) -> int:
    """Return the side of the grid of positions (1, num_extra + N, C), if it is square.

    Raises:
        UserError: If it is not, so that they cannot be resized.
    """
    patches = pos_embed.shape[1] - num_extra
    side = math.isqrt(max(patches, 0))
    if side**2 != patches:
        raise UserError(
            f'the position embedding in the checkpoint has {patches} patches, no '
            'square number, so its grid is unknown and it cannot be resized. Set '
            'img_size to the size it was trained at.'
        )
    return side


def _check_facts(backbone: nn.Module, facts: dict, checkpoint: str) -> None:
    """Compare with what the converter noted and no shape tells."""
    layer = backbone.layers[0]
    types = [type(module).__name__ for module in layer.ffn.modules()]
    act = 'quick_gelu' if 'QuickGELU' in types else backbone.act
    found = dict(num_heads=layer.attn.num_heads, activation=act)
    options = dict(
        num_heads='arch',
        activation=f'act={facts.get("activation")!r}',
    )
    for key, value in found.items():
        if facts.get(key) not in (None, value):
            raise UserError(
                f'{checkpoint} was trained with {key}={facts[key]!r}, the backbone has '
                f'{value!r}. Set {options[key]}.'
            )
    eps = getattr(layer.ln1, 'eps', None)
    if facts.get('norm_eps') not in (None, eps):
        print_log(
            f'{checkpoint} was trained with norms of eps={facts["norm_eps"]}, the '
            f"backbone has {eps}: set norm_cfg=dict(type='LN', eps=...).",
            logger='current',
            level=logging.WARNING,
        )


def _check_names(state: dict[str, Tensor], checkpoint: str, prefix: str | None) -> None:
    if any(name.startswith('layers.') for name in state):
        return
    if any('blocks.' in name for name in state):
        raise UserError(
            f"{checkpoint} has timm's names (blocks.*); convert it first: "
            'python tools/weights/convert.py SOURCE DEST --to mmvpt'
        )
    raise UserError(
        f'{checkpoint} has no weight layers.* under the prefix {prefix!r}; its keys '
        f'are {_some(list(state))}. Set the prefix in init_cfg.'
    )


def _some(names: list[str], count: int = 5) -> str:
    rest = len(names) - count
    return ', '.join(names[:count]) + (f' and {rest} more' if rest > 0 else '')
