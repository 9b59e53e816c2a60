# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The kinds of published files, and how to tell them apart by their keys."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.fileio import load
from torch import Tensor

from mmvpt.checkpoint.names import WRAPPERS

from .architecture import ConversionError
from .families import FAMILIES
from .layouts import LAYOUTS, Layout
from .positions import are_fixed


@dataclass(frozen=True)
class Format:
    """One kind of file."""

    title: str  # what it is
    layout: str  # key of ``LAYOUTS``: how it names weights
    families: Collection[str]  # the families that such files hold
    #: Groups of patterns of keys; a group of which every pattern fits a key is found in
    #: this format alone. Without marks: what no other format of the layout claims.
    marks: Sequence[Sequence[str]] = ()
    #: Patterns of names, besides those of the layout, that are not needed.
    unused: Sequence[str] = ()
    normalization: str | None = None  # key of ``NORMALIZATIONS``, None if files differ
    norm_eps: float | None = None  # epsilon of the norms, None for that of the family
    activation: str | None = None  # of a plain MLP, None for that of the family
    fixed_positions: bool = False  # whether positions are fixed sines and cosines
    #: Whether such files always have a final norm and a bias of the patch projection
    #: (but for CLIP's).
    complete: bool = True


FORMATS = {
    name: Format(**{'families': FAMILIES, **entry})
    for name, entry in load(str(Path(__file__).with_suffix('.yml'))).items()
}
# Rather this one than the other, where both claim a file.
_BEFORE = (
    ('dinov3', 'dinov2'),
    ('dinov3-hf', 'dinov2-hf'),
    ('clip-hf', 'siglip-hf'),
)

# Parts of models that the backbone has no place for.
REFUSED = (
    (r'.*(dist(illation)?_token|head_dist\..*)$', 'a distillation token'),
    (r'.*preprocessor\.patchifier\..*', 'the layers of AIMv2, without biases'),
    (r'.*(attn|attention)\.(q_norm|k_norm)\..*', 'normalised queries and keys'),
    (r'.*patch_embed\.backbone\..*|.*conv_root/.*', 'a convolutional stem'),
    (r'.*(relative_position|rel_pos).*', 'relative positions (BEiT)'),
    (r'.*rope\.freqs$', 'learned rotary frequencies'),
    (r'.*attn\.gate\..*', 'gated attention'),
    (r'.*(lora_[AB]|tuned_bias|prompt)\..*', 'tuned parameters besides the ViT'),
    (r'(cls_norm|.*\.cls_norm)\..*', 'a norm of its own for the class token'),
    (
        r'.*\.(SCB|absmax|quant_map|quant_state.*|weight_scale(_inv)?|scale_weight|'
        r'weight_format|qzeros|qweight)$',
        'quantised weights, of which the full-precision file is needed',
    ),
    (r'.*_flat_param.*', 'flattened shards of FSDP; save a full state dict'),
    (r'.*fc_norm\..*', 'a norm behind the pooling in place of the final norm'),
)


@dataclass(frozen=True)
class Reading:
    """How the keys of a file are read."""

    format: str  # key of ``FORMATS``
    prefix: str  # what stands before the names of the backbone
    names: Mapping[str, str]  # the backbone's name by key
    unused: Sequence[str]  # keys that are expected, or belong to other parts of a model
    unexpected: Sequence[str]  # all others


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take out of names what ``torch.compile`` and FSDP put into them."""
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        name = WRAPPERS.sub('', key)
        if name in out:
            raise ConversionError(f'{name} is there twice, once as {key}.')
        out[name] = value
    return out


def backbones(keys: Iterable[str]) -> list[tuple[str, str]]:
    """Find Vision Transformers among keys.

    Returns:
        Layout and prefix of each; those whose patch projection and layers are there,
        or, without any, those of which one is.
    """
    keys = [WRAPPERS.sub('', key) for key in keys]
    whole, parts = [], []
    for name, layout in LAYOUTS.items():
        blocks = re.compile(rf'((?:.*?[./])?){layout.blocks}')
        parts += [(name, m[1]) for m in map(blocks.fullmatch, keys) if m]
        patches = re.compile(rf'((?:.*[./])?){layout.patches}')
        for prefix in {m[1] for m in map(patches.fullmatch, keys) if m}:
            inside = (key[len(prefix) :] for key in keys if key.startswith(prefix))
            if any(re.fullmatch(layout.blocks, key) for key in inside):
                whole.append((name, prefix))
    return sorted(whole) or sorted(set(parts))


def recognise(
    state: Mapping[str, Tensor],
    container: str | None = None,
    format: str | None = None,
    prefix: str | None = None,
) -> Reading:
    """Tell from keys, and from positions, how to read weights.

    Args:
        state: The weights.
        container: The key of the file under which they lie, if any.
        format: Key of ``FORMATS``, if it is given.
        prefix: What stands before the names of the backbone, if it is given.

    Raises:
        ConversionError: If no format, or more than one, has such keys.
    """
    if format is not None and format not in FORMATS:
        raise ConversionError(
            f'the format {format!r} is unknown; known are {", ".join(FORMATS)}.'
        )
    layout, prefix = _one_backbone(state, format, prefix)
    inside = [key[len(prefix) :] for key in state if key.startswith(prefix)]
    if format is None:
        format = _format(layout, prefix, inside, state, container)
    return _split(state, format, prefix, LAYOUTS[layout])


def _one_backbone(
    state: Mapping[str, Tensor], format: str | None, prefix: str | None
) -> tuple[str, str]:
    found = backbones(state)
    if format is not None:
        found = [(n, p) for n, p in found if n == FORMATS[format].layout]
    if prefix is not None:
        found = [(n, p) for n, p in found if p in (prefix, f'{prefix}.')]
    prefixes = [p for _, p in found]
    if any(p.endswith('base_encoder.') for p in prefixes):  # MoCo's other is its copy
        found = [(n, p) for n, p in found if not p.endswith('momentum_encoder.')]
    if len(found) == 1:
        return found[0]
    keys = some(state, 8)
    if not found:
        reason = refusal(state)
        given = '' if prefix is None else f' behind --prefix {prefix}'
        wanted = 'the format is unknown' if format is None else f'no {format}'
        raise ConversionError(
            f'{wanted}{given}'
            + (f' (it has {reason})' if reason else '')
            + f'. Known are {", ".join(FORMATS)}; name one with --format, and what '
            f'stands before its names with --prefix. Keys of the file: {keys}.'
        )
    if len({n for n, _ in found}) > 1:
        formats = [
            next(
                f for f, form in FORMATS.items() if form.layout == n and not form.marks
            )
            for n, _ in found
        ]
        raise ConversionError(
            f'the keys fit several formats: {", ".join(formats)}. Name one with '
            f'--format. Keys: {keys}.'
        )
    options = ', '.join(f'--prefix {p!r}' for p in prefixes)
    raise ConversionError(
        f'the file holds {len(found)} sets of weights. Choose one: {options}. '
        f'Keys: {keys}.'
    )


def _format(
    layout: str,
    prefix: str,
    inside: list[str],
    state: Mapping[str, Tensor],
    container: str | None,
) -> str:
    """Return the one format of a layout that claims the keys."""
    rows = {name: form for name, form in FORMATS.items() if form.layout == layout}
    found = [
        name
        for name, form in rows.items()
        if any(all(_any_match((p,), state) for p in group) for group in form.marks)
    ]
    for first, second in _BEFORE:
        if first in found and second in found:
            found.remove(second)
    if len(found) > 1:
        raise ConversionError(
            f'the keys fit several formats: {", ".join(found)}. Name one with '
            f'--format. Keys: {some(state, 8)}.'
        )
    if found:
        return found[0]
    if layout == 'timm' and are_fixed(state.get(f'{prefix}pos_embed')):
        # Neither is ever learned in FAIR's two, which have no other mark.
        head = _any_match((r'head\..*',), inside)
        if prefix == 'module.' and head:
            return 'mocov3'
        if not prefix and not head and (container == 'model' or 'mask_token' in inside):
            return 'mae'
    return next(name for name, form in rows.items() if not form.marks)


def _split(
    state: Mapping[str, Tensor], format: str, prefix: str, layout: Layout
) -> Reading:
    """Sort keys by what becomes of them."""
    form = FORMATS[format]
    names: dict[str, str] = {}
    unused: list[str] = []
    unexpected: list[str] = []
    own = re.compile(r'(cls_token|pos_embed|reg_token|(register|storage)_tokens)')
    for key in state:
        name = key.removeprefix(prefix)
        if not key.startswith(prefix):
            # Tokens beside the layers, at a level above them, belong to these.
            above = prefix.startswith(key[: len(key) - len(re.split(r'[./]', key)[-1])])
            beside = own.fullmatch(re.split(r'[./]', key)[-1])
            (unexpected if above and beside else unused).append(key)
        elif _any_match((*form.unused, *layout.unused), [name]):
            unused.append(key)
        else:
            names[key] = layout.rename(name)
    return Reading(format, prefix, names, unused, unexpected)


def refusal(keys: Iterable[str]) -> str | None:
    """Name the part among ``keys`` that the backbone has no place for."""
    keys = list(keys)
    for pattern, part in REFUSED:
        if _any_match((pattern,), keys):
            return part
    return None


def some(names: Iterable[str] | Mapping, count: int = 5) -> str:
    """List the first of ``names`` and how many more there are."""
    names = list(names)
    rest = len(names) - count
    return ', '.join(names[:count]) + (f' and {rest} more' if rest > 0 else '')


def _any_match(patterns: Iterable[str], keys: Iterable[str]) -> bool:
    keys = list(keys)
    return any(re.fullmatch(pattern, key) for pattern in patterns for key in keys)
