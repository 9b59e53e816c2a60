# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Checks of the backbone's arguments; each names the value and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mmpretrain.models.backbones import VisionTransformer

from mmvpt.errors import UserError, one_of
from mmvpt.weights import as_normalization
from mmvpt.weights.families import FAMILIES, Family, Size, names

OUT_TYPES = ('cls_token', 'featmap', 'avg_featmap', 'raw')
POOLINGS = ('cls', 'patches', 'prompts_and_patches', 'prompts', 'map')
PRETRAINED_KEYS = (
    'checkpoint',
    'prefix',
    'key',
    'grid',
    'map_location',
    'normalization',
)
FINAL_NORMS = (True, False, 'pretrained', 'fresh-frozen', 'fresh-trained')


def single_init_cfg(init_cfg: dict | list | None) -> dict | None:
    """Unwrap a list of one, after which mmpretrain would redraw the positions.

    The keys of type ``Pretrained`` are checked here, not when weights are loaded.
    """
    if isinstance(init_cfg, (list, tuple)):
        if len(init_cfg) != 1:
            raise UserError(f'init_cfg must be one dict, got {len(init_cfg)} of them.')
        init_cfg = init_cfg[0]
    if init_cfg is None:
        return None
    if not isinstance(init_cfg, dict) or 'type' not in init_cfg:
        raise UserError(f"init_cfg must be a dict with a 'type', got {init_cfg!r}.")
    if init_cfg['type'] == 'Pretrained':
        unknown = sorted(set(init_cfg) - {'type', *PRETRAINED_KEYS})
        if unknown or 'checkpoint' not in init_cfg:
            wrong = f'has the unknown key {unknown[0]!r}' if unknown else 'lacks it'
            raise UserError(
                "init_cfg of type 'Pretrained' takes checkpoint and, if needed, "
                f'{", ".join(PRETRAINED_KEYS[1:])}; this one {wrong}: '
                f'{dict(init_cfg)}.'
            )
        if init_cfg.get('normalization') is not None:
            as_normalization(init_cfg['normalization'])
    return init_cfg


def check_pooling(
    pooling: str | None, out_type: str, family: Family, with_cls_token: bool
) -> str:
    """Return how one vector is made of an image, ``pooling`` or the family's way.

    Raises:
        UserError: For an unknown pooling, one that nobody would read, or one that this
            backbone has no token or weights for.
    """
    allowed = [name for name in POOLINGS if name != 'map' or family.pooling == 'map']
    if not with_cls_token:
        allowed.remove('cls')
    if pooling is None:
        if out_type == 'cls_token' and family.pooling not in allowed:
            raise UserError(
                "out_type='cls_token' reads the class token, and there is none "
                f'(with_cls_token=False); set pooling to one of {allowed}.'
            )
        return family.pooling
    if pooling == 'cls' and not with_cls_token:
        raise UserError(
            "pooling='cls' reads the class token, and this backbone has none; pooling "
            f'must be one of {allowed}.'
        )
    one_of('pooling', pooling, allowed)
    if out_type != 'cls_token':
        raise UserError(
            f'pooling={pooling!r} would not be read with out_type={out_type!r}; set '
            "pooling=None, or out_type='cls_token' for one vector per image."
        )
    return pooling


def check_image_size(img_size: int | tuple[int, int], patch_size: int) -> None:
    """Raise unless the training image is made of whole patches."""
    sides = (img_size,) * 2 if isinstance(img_size, int) else tuple(img_size)
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise UserError(
            f'img_size must be one integer or (height, width), got {img_size!r}.'
        )
    for side in sides:
        if side < patch_size or side % patch_size:
            raise UserError(
                f'img_size={img_size} is not made of whole patches of {patch_size} '
                f'pixels; use a multiple such as '
                f'{max(1, round(side / patch_size)) * patch_size}.'
            )


class Architecture(NamedTuple):
    """What ``arch`` says: a family and the numbers of one size."""

    name: str
    family: Family
    size: Size

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.size.patch_size or self.family.patch_size

    @property
    def act(self) -> str:
        """Kind of MLP."""
        return self.size.act or self.family.act

    @property
    def qkv_bias(self) -> bool:
        """Whether query, key and value have biases."""
        own = self.size.qkv_bias
        return self.family.qkv_bias if own is None else own

    @property
    def numbers(self) -> dict[str, int]:
        """Width, depth, heads and inner width, by their names in ``arch``."""
        return {key: getattr(self.size, key) for key in _NUMBERS}


_NUMBERS = ('embed_dims', 'num_layers', 'num_heads', 'feedforward_channels')
#: Every name of an architecture.
ARCHITECTURES = {
    **{
        name: Architecture('vit', FAMILIES['vit'], Size(**numbers))
        for name, numbers in VisionTransformer.arch_zoo.items()
    },
    **{
        name: Architecture(key, family, size)
        for key, family in FAMILIES.items()
        for suffix, size in family.sizes.items()
        for name in names(key, suffix)
    },
}


def architecture(arch: str | dict) -> Architecture:
    """Return what ``arch`` says, checked.

    Args:
        arch: ``FAMILY-SIZE``, a name of mmpretrain's, or a dict with the four numbers
            and, if it is not ``vit``, the ``family``.
    """
    if isinstance(arch, str):
        if arch.lower() not in ARCHITECTURES:
            raise UserError(
                f'arch must be one of {sorted(ARCHITECTURES)}, or a dict with '
                f'{", ".join(_NUMBERS)} and family; got {arch!r}.'
            )
        return ARCHITECTURES[arch.lower()]
    if not isinstance(arch, dict):
        raise UserError(
            f'arch must be FAMILY-SIZE or a dict with {", ".join(_NUMBERS)} and '
            f'family; got {arch!r}.'
        )
    numbers = dict(arch)
    family = numbers.pop('family', 'vit')
    one_of('family', family, list(FAMILIES))
    if set(numbers) != set(_NUMBERS):
        raise UserError(
            f'arch needs exactly the keys {sorted(_NUMBERS)}, and family if it is not '
            f"'vit'; got {arch}."
        )
    found = Architecture(family, FAMILIES[family], Size(**numbers))
    dims, heads = found.size.embed_dims, found.size.num_heads
    if dims % heads:
        raise UserError(
            f'arch: embed_dims={dims} is not divisible by num_heads={heads}.'
        )
    pool_heads = found.family.pool_heads
    if pool_heads and dims % pool_heads:
        raise UserError(
            f'arch: embed_dims={dims} is not divisible by the {pool_heads} heads of '
            f"{family}'s attention pool."
        )
    if found.family.rotation and dims // heads % 4:
        raise UserError(
            f'arch: {family} turns quarters of the {dims // heads} channels of a head, '
            'which must be a multiple of 4; change embed_dims or num_heads.'
        )
    return found


def resolve_indices(indices: int | Sequence[int], num_layers: int) -> list[int]:
    """Return ascending layer indices from 0, in a list of our own."""
    given = [indices] if isinstance(indices, int) else list(indices)
    resolved = [i + num_layers if isinstance(i, int) and i < 0 else i for i in given]
    valid = all(isinstance(i, int) and 0 <= i < num_layers for i in resolved)
    if not valid or not resolved or resolved != sorted(set(resolved)):
        raise UserError(
            f'out_indices must be ascending layers between {-num_layers} and '
            f'{num_layers - 1} without repeats; got {indices}.'
        )
    return resolved
