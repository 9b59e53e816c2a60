# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Which family weights are of, by what they have and lack."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from torch import Tensor

from .architecture import ConversionError
from .families import FAMILIES


class Traits(NamedTuple):
    """What weights, in the backbone's names, have."""

    cls: bool
    registers: int
    positions: bool
    scale: bool
    swiglu: bool
    inner_norm: bool
    pool: bool
    patch_norm: bool
    pre_norm: bool
    final_norm: bool
    fc_norm: bool
    keyless: bool
    patch_size: int


class Recogniser(NamedTuple):
    """How a family is known."""

    #: Whether weights may be of the family; those that are given as such must.
    fits: Callable[[Traits], bool]
    #: Whether nothing else has such weights.
    certain: Callable[[Traits], bool] = lambda t: True


def _plain(t: Traits) -> bool:
    """Class token and positions, nothing that came after ViT."""
    beyond = t.registers or t.inner_norm or t.pool or t.fc_norm
    return t.cls and t.positions and not beyond


RECOGNISERS = {
    'vit': Recogniser(
        lambda t: _plain(t) and not t.swiglu and not t.keyless,
        lambda t: (
            not (t.scale and t.patch_size == 14) and (t.final_norm or not t.pre_norm)
        ),
    ),
    'dinov2': Recogniser(lambda t: _plain(t) and t.scale and not t.keyless),
    'dinov2-reg': Recogniser(
        lambda t: t.cls and t.positions and t.registers > 0 and t.scale,
        lambda t: t.registers == 4,
    ),
    'dinov3': Recogniser(
        lambda t: t.cls and not t.positions and t.registers > 0 and t.scale,
        lambda t: t.registers == 4,
    ),
    'siglip': Recogniser(
        lambda t: (
            t.positions
            and not (t.cls or t.registers or t.pre_norm or t.swiglu or t.scale)
        ),
        lambda t: t.pool,
    ),
    'eva02': Recogniser(
        lambda t: (
            t.cls
            and t.positions
            and t.swiglu
            and not (t.registers or t.scale or t.inner_norm or t.pool)
        )
    ),
    'eva02-clip': Recogniser(
        lambda t: t.cls and t.positions and t.swiglu and t.inner_norm
    ),
    'pe-core': Recogniser(
        lambda t: (
            t.cls
            and t.positions
            and t.pool
            and t.pre_norm
            and t.final_norm
            and not (t.registers or t.scale or t.swiglu)
        )
    ),
}

# What no family here has, and what it is.
_OTHERS: tuple[tuple[Callable[[Traits], object], str], ...] = (
    (lambda t: t.patch_norm, 'a norm of the patches before their positions (AIMv2)'),
    (
        lambda t: t.registers and not t.cls,
        'register tokens and no class token (rope_reg*_gap and reg*_gap of timm)',
    ),
    (
        lambda t: t.pool and t.cls != t.pre_norm,
        'an attention pool besides a class token or a norm before the layers, one '
        'without the other (Perception Encoder G)',
    ),
    (
        lambda t: t.pre_norm and not t.final_norm,
        'a norm before the layers and none behind them: Perception Encoder, or a CLIP '
        'that was cut short',
    ),
    (
        lambda t: t.cls and not t.positions and not t.registers,
        "a class token, no positions and no register tokens (Naver's rope-vit): "
        'rotary positions that no weight tells',
    ),
    (
        lambda t: t.keyless and not t.swiglu and t.positions,
        'biases of queries and values, none of keys, and a plain MLP (EVA-1, EVA-02-E, '
        'BEiT): norms behind the layers, or relative positions, that no weight tells',
    ),
    (
        lambda t: not t.cls and not t.pool,
        'no class token and no attention pool (gap models)',
    ),
    (lambda t: t.fc_norm, 'a norm behind the pooling in place of the final norm'),
    (lambda t: t.registers, 'register tokens, but not as DINOv2 or DINOv3 do'),
)


def traits(state: Mapping[str, Tensor], keyless: bool) -> Traits:
    """Tell what weights have.

    Args:
        state: Weights in the backbone's names.
        keyless: Whether biases of queries and values came without those of keys.
    """

    def has(*ends: str) -> bool:
        return any(name.endswith(ends) for name in state)

    registers = state.get('reg_tokens')
    patches = state.get('patch_embed.projection.weight')
    return Traits(
        cls='cls_token' in state,
        registers=0 if registers is None else registers.shape[1],
        positions='pos_embed' in state,
        scale=has('gamma1.weight', 'gamma2.weight'),
        swiglu=has('.ffn.w12.weight'),
        inner_norm=has('.attn.norm.weight'),
        pool='pool.probe' in state,
        patch_norm='patch_embed.norm.weight' in state,
        pre_norm='pre_norm.weight' in state,
        final_norm='ln1.weight' in state,
        fc_norm='fc_norm.weight' in state,
        keyless=keyless,
        patch_size=0 if patches is None else patches.shape[-1],
    )


def recognise_family(
    t: Traits, given: str | None = None, allowed: Collection[str] = FAMILIES
) -> str:
    """Return the one family that weights can be of.

    Args:
        t: What the weights have.
        given: The family as a user or ``config.json`` says.
        allowed: The families that files of the format hold.

    Raises:
        ConversionError: If none or several fit, or the given one does not.
    """
    fits = [f for f in allowed if RECOGNISERS[f].fits(t)]
    if given is not None:
        if given not in FAMILIES:
            raise ConversionError(
                f'the family {given!r} is unknown; known are {", ".join(FAMILIES)}.'
            )
        if given in fits:
            return given
        can = f'they fit {", ".join(fits)}' if fits else f'they have {_reason(t)}'
        raise ConversionError(f'the weights are not of the family {given!r}: {can}.')
    certain = [f for f in fits if RECOGNISERS[f].certain(t)]
    if certain == ['vit', 'dinov2']:  # DeiT III, which computes the same
        return 'vit'
    if len(certain) == 1:
        return certain[0]
    if certain:
        raise ConversionError(
            f'the weights fit several families: {", ".join(certain)}. Name one with '
            '--family.'
        )
    maybe = f' If it is one of {", ".join(fits)}, say so with --family.' if fits else ''
    raise ConversionError(
        f'the file has {_reason(t)}, which is not supported.{maybe} Families that are '
        f'read: {", ".join(allowed)}.'
    )


def _reason(t: Traits) -> str:
    """Say what keeps weights from being of a family."""
    reasons = (text for test, text in _OTHERS if test(t))
    return next(reasons, 'parts of several families')
