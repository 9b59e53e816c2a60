# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Converting published Vision Transformers to the backbone's names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .architecture import (
    ARCHITECTURES,
    SIZES,
    Architecture,
    ConversionError,
    deduce,
)
from .assembly import from_flax, in_full_precision, join_parts, shape_tokens, unstacked
from .families import FAMILIES
from .files import Source, check_destination, read_source, write_weights
from .formats import FORMATS, Reading, recognise, refusal, some, unwrapped
from .hub import HUB_PREFIX, fetch
from .known import KNOWN_CHECKPOINTS, KnownCheckpoint, known_checkpoint
from .normalization import NORMALIZATIONS, Normalization, as_normalization
from .positions import are_fixed, as_grid, grid_of
from .recognition import Traits, recognise_family, traits
from .timm_source import TIMM_PREFIXES, read_timm

# Widths of DINOv3 that were also trained on satellite images, normalised otherwise
_TWICE = (1024, 4096)
_SMALL = (384, 12)  # MoCo v3 has 12 heads for this width and depth, all others 6


@dataclass(frozen=True)
class Converted:
    """Weights in the backbone's names and what is known about them."""

    state: dict[str, Tensor]  # the weights
    architecture: Architecture  # their shape
    normalization: Normalization | None  # of the images in pretraining, None if unknown
    format: str  # key of ``FORMATS`` that the source has
    source: str  # the source's name
    sha256: str | None  # hash of the source, None if it was no file
    known: str | None  # the published checkpoint that it is, if it was named
    unused: tuple[str, ...]  # keys of the source that are expected and not needed
    added: tuple[str, ...]  # what was added because the source implies it
    origins: Mapping[str, str]  # where facts come from that no weight tells

    def metadata(self) -> dict:
        """Return the facts that are written beside the weights."""
        norm = self.normalization
        return dict(
            source=Path(self.source).name,
            sha256=self.sha256,
            format=self.format,
            name=self.known,
            normalization=norm and dict(mean=list(norm.mean), std=list(norm.std)),
            architecture=self.architecture.as_dict(),
            backbone=self.architecture.backbone_options(),
        )

    def report(self) -> str:
        """Describe the conversion in a few lines."""
        arch = self.architecture
        options = ', '.join(f'{k}={v!r}' for k, v in arch.backbone_options().items())
        norm = self.normalization or 'unknown; state it with --normalization'
        facts = ', '.join(
            f'{name} {getattr(arch, name)} ({origin})'
            for name, origin in self.origins.items()
        )
        lines = [
            f'source         {self.source}',
            f'sha256         {self.sha256 or "none, not read from a file"}',
            f'format         {self.format} ({FORMATS[self.format].title})',
            f'family         {arch.family}',
            f'not in weights {facts}',
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
    family: str | None = None,
    name: str | None = None,
    arch: str | None = None,
    num_heads: int | None = None,
    activation: str | None = None,
    grid: str | tuple[int, int] | None = None,
    prefix: str | None = None,
    key: str | None = None,
    normalization: str | dict | Normalization | None = None,
    pretrained: bool = True,
) -> Converted:
    """Convert a checkpoint to the backbone's names, every key accounted for.

    Args:
        source: A file, a folder of Hugging Face or the index of shards, ``timm:NAME``,
            ``hf://ORG/NAME``, or what was read already.
        format: Key of ``FORMATS``; recognised by the keys if None.
        family: Key of ``FAMILIES``; recognised by keys and shapes if None.
        name: Key of ``KNOWN_CHECKPOINTS`` that the source must be: format, hash,
            architecture and patch are compared with it.
        arch: Key of ``ARCHITECTURES`` that the weights must have.
        num_heads: Attention heads, for a width and depth of no published size.
        activation: Of a plain MLP, one of ``ACTIVATIONS``; needed where neither format
            nor family tells (CLIP, SigLIP in timm's names).
        grid: Rows and columns of patches of the positions, where they are no square.
        prefix: What stands before the names of the backbone; found by itself if one
            set of weights is there.
        key: Under which the weights lie, where a file has several sets.
        normalization: Of the images; by default what the source, name or format says.
        pretrained: Whether timm fetches weights or draws random ones.

    Raises:
        ConversionError: If a key is missing, unexpected or of another shape, the
            format or family is unknown or ambiguous, or the source is not what was
            named.
        CheckpointError: If the source cannot be read.
    """
    known = None if name is None else known_checkpoint(name)
    source, format = _read(source, format, known, key, pretrained)
    given = dict(
        family=family, num_heads=num_heads, activation=activation, grid=as_grid(grid)
    )
    facts, origins = _facts(given, source)
    state = unstacked(unwrapped(source.state))
    reading = recognise(state, source.container, format, prefix)
    _check_known(reading.format, known, source)
    form = FORMATS[reading.format]
    try:
        weights, keyless = _renamed(state, reading, facts, origins)
        found = traits(weights, keyless)
        facts['family'] = recognise_family(found, facts.get('family'), form.families)
        added = _finish(weights, found, reading.format, facts, given)
        _settle(facts, origins, found, source, reading.format, weights)
        architecture = deduce(weights, facts['family'], facts.get('grid'), facts)
    except ConversionError as error:
        raise _explained(error, source, reading.format) from None
    facts['width'] = architecture.embed_dims
    origins.setdefault('num_heads', 'usual for this size')
    if format is not None and form.fixed_positions and not facts['fixed']:
        raise ConversionError(
            f'{source.name} is not {format}: positions of {form.title} are fixed sines '
            'and cosines, those of the file are learned.'
        )
    if form.complete:
        architecture = replace(architecture, final_norm=True)
    if form.complete or reading.format == 'mmseg':
        bias = architecture.patch_bias or not architecture.pre_norm
        architecture = replace(architecture, patch_bias=bias)
    _check_named(architecture, arch, known, source, facts)
    _check_state(weights, architecture, source, reading)
    _check_activation(architecture, source, reading.format)
    return Converted(
        state=weights,
        architecture=architecture,
        normalization=_normalization(normalization, facts, known, reading.format),
        format=reading.format,
        source=source.name,
        sha256=source.hashes.get('sha256'),
        known=known.name if known else None,
        unused=tuple(reading.unused),
        added=tuple(added),
        origins=origins,
    )


def _read(
    source: str | os.PathLike | Source,
    format: str | None,
    known: KnownCheckpoint | None,
    key: str | None,
    pretrained: bool,
) -> tuple[Source, str | None]:
    """Return what the source holds, and its format if that is settled."""
    if isinstance(source, Source):
        return source, format
    if str(source).startswith(HUB_PREFIX):
        return read_source(fetch(str(source)), key), format
    if not str(source).startswith(TIMM_PREFIXES):
        return read_source(source, key), format
    if format not in (None, 'timm'):
        raise ConversionError(f"{source} has the format 'timm', not {format!r}.")
    read = read_timm(str(source), pretrained)
    if known is not None and read.name != f'timm:{known.timm}':
        raise ConversionError(
            f'{known.name} is timm:{known.timm}, not {read.name}.'
            if known.timm
            else f'timm does not have {known.name}; its file is {known.url}.'
        )
    return read, 'timm'


def _facts(
    given: Mapping[str, Any], source: Source
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what options and the source say, which must agree, and who says it."""
    facts = {name: fact for name, fact in source.facts.items() if fact is not None}
    told = {'num_heads', 'norm_eps', 'activation'} & set(facts)
    origins = dict.fromkeys(sorted(told), 'source')
    for name, value in given.items():
        if value is None:
            continue
        if facts.get(name, value) != value:
            raise ConversionError(
                f'{source.name}: what came with the weights says {name}='
                f'{facts[name]!r}, the option {value!r}. Leave the option out, or '
                'give the weights alone.'
            )
        facts[name] = value
        if name in ('num_heads', 'activation'):
            origins[name] = 'option'
    return facts, origins


def _renamed(
    state: Mapping[str, Tensor],
    reading: Reading,
    facts: dict[str, Any],
    origins: dict[str, str],
) -> tuple[dict[str, Tensor], bool]:
    """Rename and join weights; tell whether biases came without those of keys."""
    problems: dict[str, object] = {'unexpected': reading.unexpected}
    counts: dict[str, list[str]] = {}
    for key, name in reading.names.items():
        counts.setdefault(name, []).append(key)
    problems['with one name'] = [
        ' and '.join(keys) for keys in counts.values() if len(keys) > 1
    ]
    if any(problems.values()):
        raise ConversionError(_problems(problems))
    weights = {name: state[key] for key, name in reading.names.items()}
    weights = in_full_precision(weights)
    if FORMATS[reading.format].layout == 'flax':
        weights, heads = from_flax(weights)
        if heads is not None:
            facts.setdefault('num_heads', heads)
            origins.setdefault('num_heads', 'shapes of the arrays')
    biases = {name for name in weights if name.endswith('.attn.q.bias')}
    keyless = any(n.replace('.q.', '.k.') not in weights for n in biases)
    patches = weights.get('patch_embed.projection.weight')
    if patches is not None and patches.dim() == 2:  # SigLIP 2 NaFlex
        facts.setdefault('interpolate_mode', 'bilinear-antialias')
    return join_parts(shape_tokens(weights)), keyless


def _finish(
    weights: dict[str, Tensor],
    found: Traits,
    format: str,
    facts: dict[str, Any],
    given: Mapping[str, Any],
) -> list[str]:
    """Bring positions, periods and norms into the backbone's form, in place.

    Returns:
        What was added.
    """
    added = []
    positions = weights.get('pos_embed')
    facts['fixed'] = are_fixed(positions)
    if positions is None:
        if given['grid'] is not None:
            raise ConversionError('there are no positions; leave --grid out.')
        facts['grid'] = None
    elif positions.dim() != 3:
        raise ConversionError(
            f'pos_embed has shape {tuple(positions.shape)}; expected 3 axes.'
        )
    else:
        own = facts.get('cls_row', None if format == 'timm' else True)
        own = False if format == 'timm' and found.registers else own
        facts['grid'], cls_row = grid_of(
            positions.shape[1], found.cls, facts.get('grid'), own
        )
        if found.cls and not cls_row:
            zeros = positions.new_zeros(1, 1, positions.shape[2])
            weights['pos_embed'] = torch.cat([zeros, positions], dim=1)
            added.append('pos_embed of the class token, zeros')
    if format == 'mmseg' and 'patch_embed.projection.bias' not in weights:
        patches = weights.get('patch_embed.projection.weight')
        if patches is not None:
            weights['patch_embed.projection.bias'] = patches.new_zeros(len(patches))
            added.append('patch_embed.projection.bias, zeros')
    periods = weights.pop('rope_periods', None)
    if periods is not None:
        facts['rope_dtype'] = _rope_dtype(periods)
    if found.swiglu and given['activation'] is not None:
        raise ConversionError(
            'the MLP is SwiGLU, which has no other activation; leave --activation out.'
        )
    if found.fc_norm and facts['family'] == 'eva02':
        facts['norm_before_pool'] = False
        for leaf in ('weight', 'bias'):
            if f'fc_norm.{leaf}' in weights:
                weights[f'ln1.{leaf}'] = weights.pop(f'fc_norm.{leaf}')
    return added


def _rope_dtype(periods: Tensor) -> str | None:
    """Tell how exactly a release of DINOv3 computes its periods, 100^(4k / d)."""
    count = len(periods)
    exact = 100.0 ** (torch.arange(count).double() / count)
    given = periods.double()
    if torch.allclose(given, exact, rtol=1e-6, atol=0):
        return None
    if torch.equal(given, exact.bfloat16().double()):
        return 'bfloat16'
    raise ConversionError(
        'rope_embed.periods are not 100^(k / (d / 4)), exactly or rounded to bfloat16, '
        f'but begin with {given[:3].tolist()}: the model was trained with another base.'
    )


def _settle(
    facts: dict[str, Any],
    origins: dict[str, str],
    found: Traits,
    source: Source,
    format: str,
    weights: Mapping[str, Tensor],
) -> None:
    """Add what family and format say where nothing else did."""
    form, family = FORMATS[format], FAMILIES[facts['family']]
    clip = found.pre_norm and not family.pre_norm
    eps = form.norm_eps or (1e-5 if clip else family.norm_eps)
    if format != 'mmseg' and facts.setdefault('norm_eps', eps) == eps:
        says = f'format {format}' if form.norm_eps else 'CLIP' if clip else 'family'
        origins.setdefault('norm_eps', says)
    unclear = clip or (facts['family'] == 'siglip' and form.activation is None)
    act = form.activation or (None if unclear else family.act)
    if format == 'clip-openai' and 'input_resolution' in source.state:
        act = 'quick_gelu'  # OpenAI's own files, which hold these numbers
    if not found.swiglu and act is not None:
        facts.setdefault('activation', act)
        says = f'format {format}' if form.activation or clip else 'family'
        origins.setdefault('activation', says)
    cls = weights.get('cls_token')
    depth = len({n.split('.')[1] for n in weights if n.startswith('layers.')})
    small = cls is not None and (cls.shape[-1], depth) == _SMALL
    if small and 'num_heads' not in facts:
        if format == 'mocov3':
            facts['num_heads'], origins['num_heads'] = 12, 'MoCo v3'
        elif facts['fixed'] and format == 'timm':
            raise ConversionError(
                'the positions are fixed sines and cosines: MoCo v3 has 12 heads for '
                'this width and depth, others have 6. Give --format mocov3, or '
                '--num-heads.'
            )


def _check_activation(arch: Architecture, source: Source, format: str) -> None:
    if arch.activation is not None:
        return
    if arch.family == 'siglip':
        raise ConversionError(
            f'{source.name}: SigLIP was trained with gelu_tanh (big_vision, Hugging '
            'Face), while timm runs some sizes with gelu; the features differ by a '
            'thousandth and no weight tells. Give --activation gelu_tanh or gelu.'
        )
    raise ConversionError(
        f'{source.name}: CLIP in files of format {format} uses one of two activations, '
        "and no weight tells which. OpenAI's models use QuickGELU, open_clip's use it "
        'if their name says so: give --activation gelu or quick_gelu.'
    )


def _normalization(
    given: str | dict | Normalization | None,
    facts: Mapping[str, Any],
    known: KnownCheckpoint | None,
    format: str,
) -> Normalization | None:
    if given is not None:
        return as_normalization(given)
    if facts.get('normalization'):
        return as_normalization(facts['normalization'])
    key = known.normalization if known else FORMATS[format].normalization
    if key is None and facts['family'] == 'dinov3' and facts['width'] not in _TWICE:
        key = 'imagenet'
    return NORMALIZATIONS[key] if key else None


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
        overwrite: Replace a file that is there.
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


def _check_known(format: str, known: KnownCheckpoint | None, source: Source) -> None:
    """Compare format and hash with those of the checkpoint that was named."""
    if known is None:
        return
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


def _check_named(
    architecture: Architecture,
    arch: str | None,
    known: KnownCheckpoint | None,
    source: Source,
    facts: Mapping[str, Any],
) -> None:
    """Compare with the architecture that was named, and with config.json."""
    keys = ('embed_dims', 'num_layers', 'num_heads')
    told = (*keys, 'feedforward_channels')
    wanted: dict[str, Any] = {key: facts[key] for key in told if key in facts}
    for name in (arch, known and known.arch):
        if name is None:
            continue
        if name not in ARCHITECTURES:
            raise ConversionError(f'--arch must be one of {", ".join(ARCHITECTURES)}.')
        wanted.update(zip(keys, ARCHITECTURES[name]))
        if name in SIZES and SIZES[name][0] != 'vit':
            wanted['family'] = SIZES[name][0]
    if known is not None:
        wanted['patch_size'] = known.patch_size
    differing = [
        f'{key} is {getattr(architecture, key)}, not {value}'
        for key in ('family', *told, 'patch_size')
        if (value := wanted.get(key)) not in (None, getattr(architecture, key))
    ]
    if differing:
        what = known.name if known else arch or 'what its config.json says'
        raise ConversionError(f'{source.name} is not {what}: {"; ".join(differing)}.')


def _check_state(
    state: Mapping[str, Tensor],
    architecture: Architecture,
    source: Source,
    reading: Reading,
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
        error = ConversionError(_problems(problems))
        raise _explained(error, source, reading.format)


def _problems(problems: Mapping[str, Any]) -> str:
    found = {kind: names for kind, names in problems.items() if names}
    return '; '.join(f'{len(v)} {kind}: {some(v)}' for kind, v in found.items())


def _explained(error: Exception, source: Source, format: str) -> ConversionError:
    reason = None if 'not supported' in str(error) else refusal(source.state)
    title = FORMATS[format].title
    return ConversionError(
        f'{source.name} does not convert as {format} ({title}): {error}'
        + (f' It has {reason}, which is not supported.' if reason else '')
    )
