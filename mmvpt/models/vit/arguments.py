# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Checks of the backbone's arguments; each names the value and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence

from mmvpt.weights import as_normalization

POOLINGS = ('cls', 'patches', 'prompts_and_patches', 'prompts')
PRETRAINED_KEYS = ('checkpoint', 'prefix', 'map_location', 'normalization')
FINAL_NORMS = (True, False, 'pretrained', 'fresh-frozen', 'fresh-trained')


def single_init_cfg(init_cfg: dict | list | None) -> dict | None:
    """Unwrap a list of one, after which mmpretrain would redraw the positions.

    The keys of type ``Pretrained`` are checked here, not when weights are loaded.
    """
    if isinstance(init_cfg, (list, tuple)):
        if len(init_cfg) != 1:
            raise ValueError(f'init_cfg must be one dict, got {len(init_cfg)} of them.')
        init_cfg = init_cfg[0]
    if init_cfg is None:
        return None
    if not isinstance(init_cfg, dict) or 'type' not in init_cfg:
        raise ValueError(f"init_cfg must be a dict with a 'type', got {init_cfg!r}.")
    if init_cfg['type'] == 'Pretrained':
        unknown = sorted(set(init_cfg) - {'type', *PRETRAINED_KEYS})
        if unknown or 'checkpoint' not in init_cfg:
            wrong = f'has the unknown key {unknown[0]!r}' if unknown else 'lacks it'
            raise ValueError(
                "init_cfg of type 'Pretrained' takes checkpoint and, if needed, "
                f'prefix, map_location and normalization; this one {wrong}: '
                f'{dict(init_cfg)}.'
            )
        if init_cfg.get('normalization') is not None:
            as_normalization(init_cfg['normalization'])
    return init_cfg


def check_choice(name: str, value: object, allowed: Sequence) -> None:
    """Raise unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        choices = ', '.join(map(repr, allowed))
        raise ValueError(f'{name} must be one of {choices}; got {value!r}.')


def check_pooling(pooling: str | None, out_type: str) -> None:
    """Raise for an unknown pooling, or one that nobody would read."""
    if pooling is None:
        return
    check_choice('pooling', pooling, POOLINGS)
    if out_type != 'cls_token':
        raise ValueError(
            f'pooling={pooling!r} would not be read with out_type={out_type!r}; set '
            "pooling=None, or out_type='cls_token' for one vector per image."
        )


def check_image_size(img_size: int | tuple[int, int], patch_size: int) -> None:
    """Raise unless the training image is made of whole patches."""
    sides = (img_size,) if isinstance(img_size, int) else tuple(img_size)
    if len(sides) > 2 or not all(isinstance(side, int) for side in sides):
        raise ValueError(
            f'img_size must be one integer or (height, width), got {img_size!r}.'
        )
    for side in sides:
        if side < patch_size or side % patch_size:
            raise ValueError(
                f'img_size={img_size} is not made of whole patches of {patch_size} '
                f'pixels; use a multiple such as '
                f'{max(1, round(side / patch_size)) * patch_size}.'
            )


def arch_settings(arch: str | dict, zoo: dict) -> dict:
    """Return the four numbers of an architecture, checked."""
    keys = {'embed_dims', 'num_layers', 'num_heads', 'feedforward_channels'}
    if isinstance(arch, str):
        if arch.lower() not in zoo:
            raise ValueError(f'arch must be one of {sorted(zoo)}; got {arch!r}.')
        return dict(zoo[arch.lower()])
    if set(arch) != keys:
        raise ValueError(f'arch needs exactly the keys {sorted(keys)}, got {arch}.')
    if arch['embed_dims'] % arch['num_heads']:
        raise ValueError(
            f'arch: embed_dims={arch["embed_dims"]} is not divisible by '
            f'num_heads={arch["num_heads"]}.'
        )
    return dict(arch)


def resolve_indices(indices: int | Sequence[int], num_layers: int) -> list[int]:
    """Return ascending layer indices from 0, in a list of our own."""
    given = [indices] if isinstance(indices, int) else list(indices)
    resolved = [i + num_layers if isinstance(i, int) and i < 0 else i for i in given]
    valid = all(isinstance(i, int) and 0 <= i < num_layers for i in resolved)
    if not valid or not resolved or resolved != sorted(set(resolved)):
        raise ValueError(
            f'out_indices must be ascending layers between {-num_layers} and '
            f'{num_layers - 1} without repeats; got {indices}.'
        )
    return resolved
