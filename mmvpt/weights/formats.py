# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""How published checkpoints name their weights, and how to tell them apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .architecture import ConversionError

_TIMM_NAMES = (
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
    (r'^blocks\.(\d+)\.norm([12])\.', r'layers.\1.ln\2.'),
    (r'^blocks\.(\d+)\.mlp\.fc1\.', r'layers.\1.ffn.layers.0.0.'),
    (r'^blocks\.(\d+)\.mlp\.fc2\.', r'layers.\1.ffn.layers.1.'),
    (r'^blocks\.(\d+)\.ls1\.gamma$', r'layers.\1.attn.gamma1.weight'),
    (r'^blocks\.(\d+)\.ls2\.gamma$', r'layers.\1.ffn.gamma2.weight'),
    (r'^blocks\.(\d+)\.', r'layers.\1.'),
    (r'^norm\.', 'ln1.'),
    (r'^norm_pre\.', 'pre_norm.'),
)
_TEXT_TOWER = (
    r'(module\.)?(text|transformer|token_embedding|ln_final)\..*',
    r'(module\.)?(positional_embedding|text_projection|logit_scale|logit_bias)',
)
_CLIP_BLOCK = r'^transformer\.resblocks\.(\d+)\.'
_HF_LAYER = r'^encoder\.layers\.(\d+)\.'
_GOOGLE_BLOCK = r'^Transformer/encoderblock_(\d+)/'


@dataclass(frozen=True)
class Format:
    """The names of one kind of checkpoint.

    Attributes:
        title: What it is.
        marks: Patterns of keys that only this kind has.
        prefixes: What may stand before the names of the backbone; the first that
            some key starts with counts.
        names: Patterns and replacements that lead to mmpretrain's names; the first
            that matches counts.
        unused: Patterns of names, without the prefix, that belong to such files and
            are not needed.
        outside: The same for keys that lack the prefix.
        normalization: Key of ``NORMALIZATIONS``, None if files of the kind differ.
        norm_eps: Epsilon of the norms, None if files differ.
        activation: Of the MLP, None if files differ.
        complete: Whether files of the kind always have a final norm and a bias of
            the patch projection (but for CLIP's).
    """

    title: str
    marks: tuple[str, ...]
    names: tuple[tuple[str, str], ...]
    prefixes: tuple[str, ...] = ('',)
    unused: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    normalization: str | None = None
    norm_eps: float | None = 1e-6
    activation: str | None = 'gelu'
    complete: bool = True


FORMATS = {
    'google': Format(
        title="Google's ViT (npz)",
        marks=(r'(.*/)?embedding/kernel',),
        prefixes=('opt/target/', 'params/', ''),
        names=(
            (r'^cls$', 'cls_token'),
            (r'^embedding/', 'patch_embed.projection.'),
            (r'^Transformer/posembed_input/pos_embedding$', 'pos_embed'),
            (r'^Transformer/encoder_norm/', 'ln1.'),
            (_GOOGLE_BLOCK + r'LayerNorm_0/', r'layers.\1.ln1.'),
            (_GOOGLE_BLOCK + r'LayerNorm_2/', r'layers.\1.ln2.'),
            (_GOOGLE_BLOCK + r'MlpBlock_3/Dense_0/', r'layers.\1.ffn.layers.0.0.'),
            (_GOOGLE_BLOCK + r'MlpBlock_3/Dense_1/', r'layers.\1.ffn.layers.1.'),
            (
                _GOOGLE_BLOCK
                + r'MultiHeadDotProductAttention_1/(query|key|value|out)/',
                r'layers.\1.attn.\2.',
            ),
        ),
        unused=(r'head/.*', r'pre_logits/.*', r'step'),
        outside=(r'opt/state/.*',),
        normalization='half',
    ),
    'timm': Format(
        title='timm, AugReg, DeiT',
        marks=(
            r'blocks\.\d+\.norm1\.weight',
            r'(module\.)?visual\.trunk\.blocks\.\d+\.norm1\.weight',
        ),
        prefixes=('module.visual.trunk.', 'visual.trunk.', 'module.', ''),
        names=_TIMM_NAMES,
        unused=(r'head\..*', r'pre_logits\..*'),
        outside=(*_TEXT_TOWER, r'(module\.)?visual\.head\..*'),
    ),
    'mae': Format(
        title='MAE of FAIR',
        marks=(r'decoder_blocks\..*', r'decoder_embed\..*'),
        names=_TIMM_NAMES,
        unused=(r'decoder_.*', r'mask_token'),
        normalization='imagenet',
    ),
    'mocov3': Format(
        title='MoCo v3 of FAIR, pretraining or linear probe',
        marks=(r'module\.(base_encoder\.)?blocks\.\d+\.norm1\.weight',),
        prefixes=('module.base_encoder.', 'module.'),
        names=_TIMM_NAMES,
        unused=(r'head\..*',),
        outside=(r'module\.(momentum_encoder|predictor)\..*',),
        normalization='imagenet',
    ),
    'dinov2': Format(
        title='DINOv2 of Meta',
        marks=(r'register_tokens',),
        names=_TIMM_NAMES,
        unused=(r'mask_token',),
        normalization='imagenet',
    ),
    'clip-openai': Format(
        title='vision tower of CLIP in the names of OpenAI and open_clip',
        marks=(r'((module\.)?visual\.)?class_embedding',),
        prefixes=('module.visual.', 'visual.', ''),
        names=(
            (r'^class_embedding$', 'cls_token'),
            (r'^positional_embedding$', 'pos_embed'),
            (r'^conv1\.', 'patch_embed.projection.'),
            (r'^ln_pre\.', 'pre_norm.'),
            (r'^ln_post\.', 'ln1.'),
            (_CLIP_BLOCK + r'ln_([12])\.', r'layers.\1.ln\2.'),
            (_CLIP_BLOCK + r'attn\.in_proj_', r'layers.\1.attn.qkv.'),
            (_CLIP_BLOCK + r'attn\.out_proj\.', r'layers.\1.attn.proj.'),
            (_CLIP_BLOCK + r'mlp\.c_fc\.', r'layers.\1.ffn.layers.0.0.'),
            (_CLIP_BLOCK + r'mlp\.c_proj\.', r'layers.\1.ffn.layers.1.'),
        ),
        unused=(r'proj',),
        outside=(*_TEXT_TOWER, r'input_resolution|context_length|vocab_size'),
        normalization='clip',
        norm_eps=1e-5,
        activation=None,
    ),
    'clip-hf': Format(
        title='vision tower of CLIP in the names of Hugging Face transformers',
        marks=(r'vision_model\.encoder\.layers\.\d+\.self_attn\.q_proj\.weight',),
        prefixes=('vision_model.',),
        names=(
            (r'^embeddings\.class_embedding$', 'cls_token'),
            (r'^embeddings\.position_embedding\.weight$', 'pos_embed'),
            (r'^embeddings\.patch_embedding\.', 'patch_embed.projection.'),
            (r'^pre_layrnorm\.', 'pre_norm.'),
            (r'^post_layernorm\.', 'ln1.'),
            (_HF_LAYER + r'layer_norm([12])\.', r'layers.\1.ln\2.'),
            (_HF_LAYER + r'self_attn\.q_proj\.', r'layers.\1.attn.query.'),
            (_HF_LAYER + r'self_attn\.k_proj\.', r'layers.\1.attn.key.'),
            (_HF_LAYER + r'self_attn\.v_proj\.', r'layers.\1.attn.value.'),
            (_HF_LAYER + r'self_attn\.out_proj\.', r'layers.\1.attn.proj.'),
            (_HF_LAYER + r'mlp\.fc1\.', r'layers.\1.ffn.layers.0.0.'),
            (_HF_LAYER + r'mlp\.fc2\.', r'layers.\1.ffn.layers.1.'),
        ),
        unused=(r'embeddings\.position_ids',),
        outside=(r'text_model\..*|(visual|text)_projection\.weight|logit_scale',),
        normalization='clip',
        norm_eps=1e-5,
        activation=None,
    ),
    'mmpretrain': Format(
        title='mmpretrain',
        marks=(r'(backbone\.)?layers\.\d+\.attn\.qkv\.weight',),
        prefixes=('backbone.', ''),
        names=((r'^', ''),),
        unused=(r'mask_token', r'(head|ln2)\..*'),
        outside=(
            r'(head|neck|target_generator|data_preprocessor|momentum_encoder)\..*',
        ),
        complete=False,
    ),
    'mmseg': Format(
        title='mmsegmentation',
        marks=(r'(backbone\.)?layers\.\d+\.attn\.attn\.in_proj_weight',),
        prefixes=('backbone.', ''),
        names=(
            (r'^layers\.(\d+)\.attn\.attn\.in_proj_', r'layers.\1.attn.qkv.'),
            (r'^layers\.(\d+)\.attn\.attn\.out_proj\.', r'layers.\1.attn.proj.'),
            (r'^', ''),
        ),
        unused=(r'head\..*',),
        outside=(r'(decode_head|auxiliary_head|neck|data_preprocessor)\..*',),
        norm_eps=None,
        complete=False,
    ),
}

# Parts of models that the backbone has no place for.
REFUSED = (
    (r'.*(register_tokens?|reg_tokens?)$', 'register tokens'),
    (r'.*(dist_token|head_dist\..*)$', 'a distillation token'),
    (r'.*mlp\.(w12|w3|fc1_g|fc1_x)\..*', 'SwiGLU layers'),
    (r'.*attn\.(q_norm|k_norm)\..*', 'normalised queries and keys'),
    (r'.*patch_embed\.backbone\..*|.*conv_root/.*', 'a convolutional stem'),
    (r'.*(relative_position|rel_pos|rope).*', 'relative positions'),
    (r'.*(lora_[AB]|tuned_bias|prompt)\..*', 'tuned parameters besides the ViT'),
    (r'.*MAPHead_0/.*', 'an attention head in place of a class token'),
    (r'.*fc_norm\..*', 'a norm behind the pooling in place of the final norm'),
)


def recognise(keys: Iterable[str], container: str | None = None) -> str:
    """Tell the format of a checkpoint from its keys.

    Args:
        keys: All keys of the weights.
        container: The key of the file under which the weights lie, if any.

    Raises:
        ConversionError: If no format, or more than one, has such keys.
    """
    keys = list(keys)
    found = [name for name, form in FORMATS.items() if _any_match(form.marks, keys)]
    if 'timm' in found:
        found = _among_timm_names(found, keys, container)
    if len(found) == 1:
        return found[0]
    if found:
        raise ConversionError(
            f'the keys fit several formats: {", ".join(found)}. Name one with '
            f'--format. Keys: {some(keys, 8)}.'
        )
    reason = refusal(keys)
    raise ConversionError(
        'the format is unknown'
        + (f' (it has {reason})' if reason else '')
        + f'. Known are {", ".join(FORMATS)}; keys of the file: {some(keys, 8)}.'
    )


def _among_timm_names(found: list[str], keys: list[str], container: str | None):
    """Tell apart the formats that share timm's names."""
    if _any_match((r'head(_dist)?\..*', r'fc_norm\..*'), keys):
        return found
    others = [name for name in found if name != 'timm']
    if others:
        return others
    if _any_match((r'mask_token',), keys):
        return ['dinov2' if _any_match((r'.*\.ls1\.gamma',), keys) else 'mae']
    # FAIR's file holds the encoder alone, under 'model'; timm's has no such key.
    return ['mae'] if container == 'model' else found


def split_names(
    keys: Iterable[str], form: Format
) -> tuple[dict[str, str], list[str], list[str]]:
    """Sort keys by what becomes of them.

    Args:
        keys: Keys of the checkpoint.
        form: Its format.

    Returns:
        New names by key; keys that are expected and not needed; all others.
    """
    keys = list(keys)
    prefix = next(
        (p for p in form.prefixes if any(key.startswith(p) for key in keys)), None
    )
    renamed: dict[str, str] = {}
    unused, unexpected = [], []
    for key in keys:
        inside = prefix is not None and key.startswith(prefix)
        name = key[len(prefix or '') :] if inside else key
        if _any_match(form.unused if inside else form.outside, [name]):
            unused.append(key)
        elif inside:
            renamed[key] = rename(name, form)
        else:
            unexpected.append(key)
    return renamed, unused, unexpected


def rename(name: str, form: Format) -> str:
    """Return mmpretrain's name of a weight, or the name itself."""
    for pattern, replacement in form.names:
        new, count = re.subn(pattern, replacement, name)
        if count:
            return new
    return name


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


def _any_match(patterns: Iterable[str], keys: list[str]) -> bool:
    return any(re.fullmatch(pattern, key) for pattern in patterns for key in keys)
