# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Converting published Vision Transformers to mmpretrain's names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from .architecture import ACTIVATIONS, ARCHITECTURES, Architecture, ConversionError
from .architecture import deduce as deduce_architecture
from .files import Source, check_destination, read_source, write_weights
from .formats import FORMATS, recognise, refusal, some, split_names
from .known import KNOWN_CHECKPOINTS, KnownCheckpoint
from .layout import from_flax, join_qkv, shape_tokens
from .normalization import NORMALIZATIONS, Normalization, as_normalization
from .timm_source import TIMM_PREFIXES, read_timm

# Architectures whose number of heads differs from others of their size.
_HEADS = {('mocov3', 384, 12): 12}


@dataclass(frozen=True)
class Converted:
    """Weights in mmpretrain's names and what is known about them.

    Attributes:
        state: The weights.
        architecture: Their shape.
        normalization: Of the images in pretraining, None if unknown.
        format: Key of ``FORMATS`` that the source has.
        source: The source's name.
        sha256: Hash of the source, None if it was no file.
        known: The published checkpoint that it is, if it was named.
        unused: Keys of the source that are expected and not needed.
        added: What was added because the source implies it.
    """

    state: dict[str, Tensor]
    architecture: Architecture
    normalization: Normalization | None
    format: str
    source: str
    sha256: str | None
    known: str | None
    unused: tuple[str, ...]
    added: tuple[str, ...]

    def metadata(self) -> dict:
        """Return the facts that are written beside the weights."""
        norm = self.normalization
        return dict(
            format=self.format,
            source=Path(self.source).name,
            sha256=self.sha256,
            name=self.known,
            normalization=norm and dict(mean=list(norm.mean), std=list(norm.std)),
            architecture=self.architecture.as_dict(),
        )

    def report(self) -> str:
        """Describe the conversion in a few lines."""
        options = ', '.join(
            f'{k}={v!r}' for k, v in self.architecture.backbone_options().items()
        )
        norm = self.normalization or 'unknown; state it with --normalization'
        lines = [
            f'source         {self.source}',
            f'sha256         {self.sha256 or "none, not read from a file"}',
            f'format         {self.format} ({FORMATS[self.format].title})',
            f'weights        {len(self.state)}, all that the architecture needs',
            f'unused         {len(self.unused)}'
            + (f': {some(self.unused)}' if self.unused else ''),
            f'added          {some(self.added) if self.added else 0}',
            f'normalisation  {norm}',
            f'backbone       {options}',
        ]
        return '\n'.join(lines)


def convert(
    source: str | os.PathLike | Source,
    *,
    format: str | None = None,
    name: str | None = None,
    arch: str | None = None,
    num_heads: int | None = None,
    activation: str | None = None,
    normalization: str | dict | Normalization | None = None,
    pretrained: bool = True,
) -> Converted:
    """Convert a checkpoint to mmpretrain's names, every key accounted for.

    Args:
        source: A file, ``timm:NAME`` or ``timm://NAME``, or what was read already.
        format: Key of ``FORMATS``; recognised by the keys if None.
        name: Key of ``KNOWN_CHECKPOINTS`` that the source must be: format, hash,
            architecture and patch are compared with it.
        arch: Key of ``ARCHITECTURES`` that the weights must have.
        num_heads: Attention heads, for a width and depth of no usual ViT.
        activation: Of the MLP, ``gelu`` or ``quick_gelu``; needed where the format
            does not tell (CLIP).
        normalization: Of the images; by default what the name or format says.
        pretrained: Whether timm fetches weights or draws random ones.

    Returns:
        The weights and what is known about them.

    Raises:
        ConversionError: If a key is missing, unexpected or of another shape, the
            format is unknown or ambiguous, or the source is not what was named.
        CheckpointError: If the source cannot be read.
    """
    known = _known(name)
    facts: dict = {}
    if str(source).startswith(TIMM_PREFIXES):
        if format not in (None, 'timm'):
            raise ConversionError(f"{source} has the format 'timm', not {format!r}.")
        source, facts = read_timm(str(source), pretrained)
        if known is not None and source.name != f'timm:{known.timm}':
            raise ConversionError(
                f'{known.name} is timm:{known.timm}, not {source.name}.'
                if known.timm
                else f'timm does not have {known.name}; its file is {known.url}.'
            )
    elif not isinstance(source, Source):
        source = read_source(source)
    format = 'timm' if facts else _format(format, known, source)
    form = FORMATS[format]

    state, unused = _renamed(source, format)
    heads = num_heads or facts.get('num_heads')
    if format == 'google':
        state, own = from_flax(state)
        heads = heads or own
    state, added = shape_tokens(join_qkv(state))
    state = {name: _full_precision(value) for name, value in state.items()}
    eps = facts.get('norm_eps', form.norm_eps)
    activation = activation or facts.get('activation') or form.activation
    activation = activation or _openai_activation(format, source.state)
    positions = state.get('pos_embed')
    if heads is None and positions is not None:
        heads = _HEADS.get((format, positions.shape[-1], _depth(state)))
    try:
        architecture = deduce_architecture(state, heads, eps, activation)
    except ConversionError as error:
        raise _explained(error, source, format) from None
    if format == 'mmseg' and not architecture.patch_bias:
        bias = torch.zeros(architecture.embed_dims, dtype=state['pos_embed'].dtype)
        state['patch_embed.projection.bias'] = bias
        added.append('patch_embed.projection.bias, zeros')
    if form.complete:
        architecture = replace(architecture, final_norm=True)
    if form.complete or format == 'mmseg':
        bias = architecture.patch_bias or not architecture.pre_norm
        architecture = replace(architecture, patch_bias=bias)
    _check_named(architecture, arch, known, source)
    _check_state(state, architecture, source, format)
    if architecture.activation is None:
        raise ConversionError(
            f'{source.name}: files of format {format} use one of two activations, and '
            "no weight tells which. OpenAI's models use QuickGELU, open_clip's use it "
            f'if their name says so: give --activation {" or ".join(ACTIVATIONS)}.'
        )
    normal: Normalization | None
    if normalization is not None:
        normal = as_normalization(normalization)
    else:
        key = known.normalization if known else form.normalization
        normal = facts.get('normalization') or (NORMALIZATIONS[key] if key else None)
    return Converted(
        state=state,
        architecture=architecture,
        normalization=normal,
        format=format,
        source=source.name,
        sha256=source.hashes.get('sha256'),
        known=known.name if known else None,
        unused=tuple(unused),
        added=tuple(added),
    )


def convert_file(
    source: str | os.PathLike,
    dest: str | os.PathLike,
    overwrite: bool = False,
    **options,
) -> Converted:
    """Convert a checkpoint and write the result, or nothing at all.

    A destination named as a known checkpoint, such as
    ``checkpoints/vit-base-p16_mae.pth``, must be it.

    Args:
        source: As in :func:`convert`.
        dest: ``.pth`` or ``.safetensors``.
        overwrite: Whether a file that is there may be replaced.
        **options: As in :func:`convert`.

    Raises:
        CheckpointError: As :func:`convert`, or if the destination exists, is the
            source or cannot be written.
    """
    dest = Path(dest).expanduser()
    check_destination(dest, overwrite)
    if dest.exists() and Path(source).exists() and dest.samefile(source):
        raise ConversionError(f'{dest} is the source; write to another file.')
    if options.get('name') is None and dest.stem in KNOWN_CHECKPOINTS:
        options['name'] = dest.stem
    converted = convert(source, **options)
    write_weights(dest, converted.state, converted.metadata(), overwrite)
    return converted


def _known(name: str | None) -> KnownCheckpoint | None:
    if name is None:
        return None
    if name not in KNOWN_CHECKPOINTS:
        raise ConversionError(
            f'{name!r} is no known checkpoint; known are '
            f'{", ".join(KNOWN_CHECKPOINTS)}.'
        )
    return KNOWN_CHECKPOINTS[name]


def _format(given: str | None, known: KnownCheckpoint | None, source: Source) -> str:
    """Return the format as given or as the keys say; it must be what was named."""
    if given is not None and given not in FORMATS:
        raise ConversionError(
            f'the format {given!r} is unknown; known are {", ".join(FORMATS)}.'
        )
    format = given or recognise(source.state, source.container)
    if known is None:
        return format
    if format not in known.formats:
        raise ConversionError(
            f'{source.name} has the format {format}, but {known.name} is published '
            f'in the format {known.formats[0]}. Give the right source, or write to a '
            'file with another name.'
        )
    for kind, found in source.hashes.items() if format == known.formats[0] else ():
        stated = getattr(known, kind)
        if stated and not found.startswith(stated):
            raise ConversionError(
                f'{source.name} has {kind.upper()} {found}, but {known.name} is '
                f'published with {stated}: the file is damaged or another one.'
            )
    return format


def _renamed(source: Source, format: str) -> tuple[dict[str, Tensor], list[str]]:
    renamed, unused, unexpected = split_names(source.state, FORMATS[format])
    if unexpected or not renamed:
        raise ConversionError(
            _problems(source, format, {'unexpected': unexpected or source.state})
        )
    counts: dict[str, list[str]] = {}
    for key, name in renamed.items():
        counts.setdefault(name, []).append(key)
    double = [' and '.join(keys) for keys in counts.values() if len(keys) > 1]
    if double:
        raise ConversionError(_problems(source, format, {'with one name': double}))
    return {name: source.state[key] for key, name in renamed.items()}, unused


def _check_named(
    architecture: Architecture,
    arch: str | None,
    known: KnownCheckpoint | None,
    source: Source,
) -> None:
    """Compare with the architecture that was named."""
    wanted: dict[str, int] = {}
    for name in (arch, known and known.arch):
        if name is None:
            continue
        if name not in ARCHITECTURES:
            raise ConversionError(f'--arch must be one of {", ".join(ARCHITECTURES)}.')
        keys = ('embed_dims', 'num_layers', 'num_heads')
        wanted.update(zip(keys, ARCHITECTURES[name]))
    if known is not None:
        wanted['patch_size'] = known.patch_size
    differing = [
        f'{key} is {getattr(architecture, key)}, not {value}'
        for key, value in wanted.items()
        if getattr(architecture, key) != value
    ]
    if differing:
        raise ConversionError(
            f'{source.name} is not {known.name if known else arch}: '
            f'{"; ".join(differing)}.'
        )


def _check_state(
    state: Mapping[str, Tensor],
    architecture: Architecture,
    source: Source,
    format: str,
) -> None:
    """Compare every weight with what the architecture needs."""
    shapes = architecture.shapes()
    problems = {
        'missing': [name for name in shapes if name not in state],
        'unexpected': [name for name in state if name not in shapes],
        'mismatched': [
            f'{name} is {tuple(value.shape)} instead of {shapes[name]}'
            for name, value in state.items()
            if name in shapes and tuple(value.shape) != shapes[name]
        ],
        'not finite': [n for n, value in state.items() if not value.isfinite().all()],
    }
    if any(problems.values()):
        raise ConversionError(_problems(source, format, problems))


def _problems(source: Source, format: str, problems: Mapping[str, object]) -> str:
    reason = refusal(source.state)
    lines = [
        f'{source.name} does not convert as {format} ({FORMATS[format].title})'
        + (f': it has {reason}, which is not supported.' if reason else '.')
    ]
    for kind, names in problems.items():
        names = list(names)  # type: ignore[call-overload]
        if names:
            lines.append(f'  {len(names)} {kind}: {some(names)}')
    return '\n'.join(lines)


def _explained(error: Exception, source: Source, format: str) -> ConversionError:
    reason = refusal(source.state)
    return ConversionError(
        f'{source.name}, read as {format}: {error}'
        + (f' It has {reason}, which is not supported.' if reason else '')
    )


def _full_precision(value: Tensor) -> Tensor:
    """Widen half precision, exactly; leave 32 and 64 bits."""
    half = value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value


def _openai_activation(format: str, state: Mapping[str, Tensor]) -> str | None:
    """OpenAI's own files of CLIP, which use QuickGELU, also hold these numbers."""
    own = format == 'clip-openai' and 'input_resolution' in state
    return 'quick_gelu' if own else None


def _depth(state: Mapping[str, Tensor]) -> int:
    return len({n.split('.')[1] for n in state if n.startswith('layers.')})
