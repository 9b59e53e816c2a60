# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""How programs name the weights of a Vision Transformer.

A layout is a way to name them, whatever the family: the keys by which it is known, and
patterns that lead to the names of the backbone. Some names lead to parts that
:mod:`.assembly` puts together: ``attn.query``, ``ffn.gate``, ``pool.in_proj``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Names = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Layout:
    """One way to name weights."""

    patches: str  # pattern of the key of the patch projection; every model has one
    blocks: str  # pattern of a key of every layer
    names: Names  # patterns and replacements; the first that matches counts
    #: Patterns of names that belong to such models and are not needed.
    unused: tuple[str, ...] = ()

    def rename(self, name: str) -> str:
        """Return the backbone's name of a weight, or the name itself."""
        for pattern, replacement in self.names:
            new, count = re.subn(pattern, replacement, name)
            if count:
                return new
        return name


_TIMM = r'^blocks\.(\d+)\.'
_CLIP = r'^transformer\.resblocks\.(\d+)\.'
_HF = r'^(?:model\.)?(?:encoder\.)?layers?\.(\d+)\.'
_FLAX = r'^Transformer/encoderblock_(\d+)/'
_LAYER = r'layers.\1.'

LAYOUTS = {
    # timm, and the releases of DeiT, MAE, MoCo v3, DINO, DINOv2, DINOv3 and EVA
    'timm': Layout(
        patches=r'patch_embed\.proj\.weight',
        blocks=r'blocks\.\d+\.norm1\.weight',
        names=(
            (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
            (r'^(reg_token|register_tokens|storage_tokens)$', 'reg_tokens'),
            (_TIMM + r'norm([12])\.', _LAYER + r'ln\2.'),
            (_TIMM + r'attn\.([qkv])_proj\.', _LAYER + r'attn.\2.'),
            (_TIMM + r'attn\.([qkv])_bias$', _LAYER + r'attn.\2.bias'),
            (_TIMM + r'attn\.inner_attn_ln\.', _LAYER + 'attn.norm.'),
            (_TIMM + r'(ls1\.gamma|gamma_1)$', _LAYER + 'attn.gamma1.weight'),
            (_TIMM + r'(ls2\.gamma|gamma_2)$', _LAYER + 'ffn.gamma2.weight'),
            (_TIMM + r'mlp\.fc1\.', _LAYER + 'ffn.layers.0.0.'),
            (_TIMM + r'mlp\.fc2\.', _LAYER + 'ffn.layers.1.'),
            (_TIMM + r'mlp\.(w1|fc1_g)\.', _LAYER + 'ffn.gate.'),
            (_TIMM + r'mlp\.(w2|fc1_x)\.', _LAYER + 'ffn.up.'),
            (_TIMM + r'mlp\.(ffn_ln|norm)\.', _LAYER + 'ffn.norm.'),
            (_TIMM + r'mlp\.(w12|w3)\.', _LAYER + r'ffn.\2.'),
            (_TIMM, _LAYER),
            (r'^norm\.', 'ln1.'),
            (r'^norm_pre\.', 'pre_norm.'),
            (r'^attn_pool\.latent$', 'pool.probe'),
            (r'^attn_pool\.(mlp\.)?', 'pool.'),
            (r'^rope_embed\.periods$', 'rope_periods'),
        ),
        unused=(
            r'(head|head_drop|pre_logits|lm_head)\..*',
            r'mask_token',
            r'(blocks\.\d+\.attn\.)?rope\.freqs_(cos|sin)',
        ),
    ),
    'openai': Layout(
        patches=r'(?<!embeddings\.)class_embedding',
        blocks=r'transformer\.resblocks\.\d+\.ln_1\.weight',
        names=(
            (r'^class_embedding$', 'cls_token'),
            (r'^positional_embedding$', 'pos_embed'),
            (r'^conv1\.', 'patch_embed.projection.'),
            (r'^ln_pre\.', 'pre_norm.'),
            (r'^ln_post\.', 'ln1.'),
            (_CLIP + r'ln_([12])\.', _LAYER + r'ln\2.'),
            (_CLIP + r'attn\.in_proj_', _LAYER + 'attn.qkv.'),
            (_CLIP + r'attn\.out_proj\.', _LAYER + 'attn.proj.'),
            (_CLIP + r'mlp\.c_fc\.', _LAYER + 'ffn.layers.0.0.'),
            (_CLIP + r'mlp\.c_proj\.', _LAYER + 'ffn.layers.1.'),
        ),
        unused=(r'proj',),
    ),
    # As files of transformers 4 and 5 are written, and as version 5 names modules
    'hf': Layout(
        patches=r'embeddings\.patch_embedding(s\.projection|s)?\.weight',
        blocks=r'(model\.)?(encoder\.)?layers?\.\d+\.'
        r'(norm1|layernorm_before|layer_norm1)\.weight',
        names=(
            (r'^embeddings\.(cls_token|class_embedding)$', 'cls_token'),
            (r'^embeddings\.register_tokens$', 'reg_tokens'),
            (r'^embeddings\.position_embedding(s|\.weight)$', 'pos_embed'),
            (
                r'^embeddings\.patch_embedding(s\.projection|s)?\.',
                'patch_embed.projection.',
            ),
            (r'^pre_layrnorm\.', 'pre_norm.'),
            (r'^(layernorm|norm|post_layernorm)\.', 'ln1.'),
            (_HF + r'(?:norm1|layernorm_before|layer_norm1)\.', _LAYER + 'ln1.'),
            (_HF + r'(?:norm2|layernorm_after|layer_norm2)\.', _LAYER + 'ln2.'),
            (
                _HF + r'(?:self_attn|attention|attention\.attention)\.'
                r'([qkv])(?:uery|ey|alue|_proj)\.',
                _LAYER + r'attn.\2.',
            ),
            (
                _HF + r'(?:self_attn\.out_proj|attention\.(?:output\.dense|o_proj))\.',
                _LAYER + 'attn.proj.',
            ),
            (_HF + r'layer_scale1\.lambda1$', _LAYER + 'attn.gamma1.weight'),
            (_HF + r'layer_scale2\.lambda1$', _LAYER + 'ffn.gamma2.weight'),
            (_HF + r'(?:mlp\.fc1|intermediate\.dense)\.', _LAYER + 'ffn.layers.0.0.'),
            (
                _HF + r'(?:mlp\.fc2|mlp\.down_proj|output\.dense)\.',
                _LAYER + 'ffn.layers.1.',
            ),
            (_HF + r'mlp\.(gate|up)_proj\.', _LAYER + r'ffn.\2.'),
            (_HF + r'mlp\.weights_in\.', _LAYER + 'ffn.w12.'),
            (_HF + r'mlp\.weights_out\.', _LAYER + 'ffn.w3.'),
            (r'^head\.probe$', 'pool.probe'),
            (r'^head\.attention\.in_proj_', 'pool.in_proj.'),
            (r'^head\.attention\.out_proj\.', 'pool.proj.'),
            (r'^head\.layernorm\.', 'pool.norm.'),
            (r'^head\.mlp\.', 'pool.'),
        ),
        unused=(r'embeddings\.(mask_token|position_ids)', r'pooler\..*'),
    ),
    # Google's ViT and big_vision's SigLIP; see from_flax
    'flax': Layout(
        patches=r'embedding/kernel',
        blocks=r'Transformer/encoderblock(_\d+)?/LayerNorm_0/scale',
        names=(
            (r'^cls$', 'cls_token'),
            (r'^embedding/', 'patch_embed.projection.'),
            (r'^(Transformer/posembed_input/)?pos_embedding$', 'pos_embed'),
            (r'^Transformer/encoder_norm/', 'ln1.'),
            (_FLAX + r'LayerNorm_0/', _LAYER + 'ln1.'),
            (_FLAX + r'LayerNorm_[12]/', _LAYER + 'ln2.'),
            (_FLAX + r'MlpBlock_[03]/Dense_0/', _LAYER + 'ffn.layers.0.0.'),
            (_FLAX + r'MlpBlock_[03]/Dense_1/', _LAYER + 'ffn.layers.1.'),
            (
                _FLAX + r'MultiHeadDotProductAttention_[01]/'
                r'(q|k|v|out)(?:uery|ey|alue)?/',
                _LAYER + r'attn.\2.',
            ),
            (r'^MAPHead_0/probe$', 'pool.probe'),
            (r'^MAPHead_0/LayerNorm_0/', 'pool.norm.'),
            (r'^MAPHead_0/MlpBlock_0/Dense_0/', 'pool.fc1.'),
            (r'^MAPHead_0/MlpBlock_0/Dense_1/', 'pool.fc2.'),
            (
                r'^MAPHead_0/MultiHeadDotProductAttention_0/'
                r'(q|k|v|out)(?:uery|ey|alue)?/',
                r'pool.\1.',
            ),
        ),
        unused=(r'head/.*', r'pre_logits/.*', r'step'),
    ),
    'mmpretrain': Layout(
        patches=r'patch_embed\.projection\.weight',
        blocks=r'layers\.\d+\.attn\.qkv\.weight',
        names=((r'^', ''),),
        unused=(r'mask_token', r'(head|ln2)\..*'),
    ),
    'mmseg': Layout(
        patches=r'patch_embed\.projection\.weight',
        blocks=r'layers\.\d+\.attn\.attn\.in_proj_weight',
        names=(
            (r'^layers\.(\d+)\.attn\.attn\.in_proj_', _LAYER + 'attn.qkv.'),
            (r'^layers\.(\d+)\.attn\.attn\.out_proj\.', _LAYER + 'attn.proj.'),
            (r'^', ''),
        ),
        unused=(r'head\..*',),
    ),
}
