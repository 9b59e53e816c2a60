# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Reading a Vision Transformer from timm by its name there."""

from __future__ import annotations

from torch import nn

from mmvpt.checkpoint import CheckpointError
from mmvpt.errors import needed

from .architecture import ConversionError
from .files import Source
from .normalization import Normalization

TIMM_PREFIXES = ('timm://', 'timm:')


def read_timm(name: str, pretrained: bool = True) -> Source:
    """Build a model of timm and take its weights.

    Args:
        name: ``timm:NAME`` or ``timm://NAME``, NAME as in ``timm.list_models``.
        pretrained: Whether timm fetches the weights or draws random ones.

    Returns:
        The weights, and what only the model tells: heads, epsilon, activation, grid,
        whether the class token has a position, and normalisation.

    Raises:
        ConversionError: If timm has no such model, it is no plain ViT, or its
            activation is neither GELU nor QuickGELU.
        CheckpointError: If timm is not installed or cannot fetch the weights.
    """
    with needed(f'{name} needs timm: pip install timm', CheckpointError):
        import timm
    plain = plain_name(name)
    families = ('vision_transformer', 'deit', 'eva')
    names = [name for family in families for name in timm.list_models(module=family)]
    stem = plain.split('.')[0]
    if stem not in names:
        near = [name for name in names if name.startswith(stem)]
        raise ConversionError(
            f'timm {timm.__version__} has no Vision Transformer {plain!r}'
            + (f'; similar: {", ".join(near[:5])}' if near else '')
            + '.'
        )
    try:
        model = timm.create_model(plain, pretrained=pretrained)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f'timm could not provide {plain}: {error}. Without network, fetch the file '
            'elsewhere and convert it.'
        ) from error
    return Source(model.state_dict(), None, {}, f'timm:{plain}', facts_of(model))


def plain_name(name: str) -> str:
    """Return ``timm:NAME`` or ``timm://NAME`` without the prefix."""
    return name.removeprefix('timm:').removeprefix('//')


def facts_of(model) -> dict:
    """Return what a ViT of timm knows and its weights do not say."""
    from timm.models.eva import Eva
    from timm.models.vision_transformer import Block, VisionTransformer

    block = model.blocks[0]
    plain = type(model) is VisionTransformer and type(block) is Block
    if not plain and type(model) is not Eva:
        raise ConversionError(
            f'{type(model).__name__} of timm with layers of {type(block).__name__} is '
            'no plain VisionTransformer and no Eva.'
        )
    config = model.pretrained_cfg
    normal = None
    if config.get('mean') and config.get('std'):
        normal = Normalization.of_unit_range(config['mean'], config['std'])
    return dict(
        num_heads=block.attn.num_heads,
        norm_eps=block.norm1.eps,
        activation=_activation(block.mlp.act),
        grid=tuple(model.patch_embed.grid_size),
        cls_row=not model.no_embed_class,
        normalization=normal,
    )


def _activation(act: nn.Module) -> str | None:
    """Return the name of the activation of a plain MLP, None for that of SwiGLU."""
    name = type(act).__name__
    if name == 'SiLU':
        return None
    tanh = name == 'GELUTanh' or getattr(act, 'approximate', 'none') == 'tanh'
    found = {'GELU': 'gelu', 'GELUTanh': 'gelu', 'QuickGELU': 'quick_gelu'}.get(name)
    if found is None:
        raise ConversionError(f'the activation {act} of timm is not supported.')
    return 'gelu_tanh' if tanh else found
