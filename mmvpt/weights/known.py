# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Known checkpoints: data about published weights, no code.

A config names one as ``mmvpt://NAME``. ``sha256`` holds what the publisher states, and
is None where nothing is stated: eight digits come from the file name, which by the
convention of torch.hub and OpenMMLab ends with the start of the hash.
"""

from __future__ import annotations

from dataclasses import dataclass

_OPENMMLAB = 'https://download.openmmlab.com/'
_TIMM_JX = (
    'https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-vitjx/'
)


@dataclass(frozen=True)
class KnownCheckpoint:
    """One published file.

    Attributes:
        name: What configs call it.
        arch: Architecture of ``ARCHITECTURES``.
        patch_size: Side of a patch in pixels.
        image_size: Side of the images at the end of pretraining, in pixels.
        formats: Keys of ``FORMATS``: that of the published file, then others in which
            the same weights are had.
        normalization: Key of ``NORMALIZATIONS``.
        licence: SPDX name of the licence of the project that published the weights.
        url: The published file, or None if it is had through timm alone.
        timm: Name in timm, whose package then fetches the weights, or None.
        sha256: Hash of the file or its first digits, None where none is stated.
        md5: The same for a publisher who states that one.
        papers: Methods of ours whose papers use it.
        note: What it is.
    """

    name: str
    arch: str
    patch_size: int
    image_size: int
    formats: tuple[str, ...]
    normalization: str
    licence: str
    note: str
    url: str | None = None
    timm: str | None = None
    sha256: str | None = None
    md5: str | None = None
    papers: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """What ``tools/weights/convert.py`` takes: a file name or ``timm:NAME``."""
        if self.url is None:
            return f'timm:{self.timm}'
        return self.url.rsplit('/', 1)[1]


_CHECKPOINTS = (
    KnownCheckpoint(
        name='vit-base-p16_in21k',
        arch='vit-b',
        patch_size=16,
        image_size=224,
        formats=('google',),
        normalization='half',
        licence='Apache-2.0',
        url='https://storage.googleapis.com/vit_models/imagenet21k/ViT-B_16.npz',
        timm='vit_base_patch16_224.orig_in21k',
        papers=('VPT', 'VAPT'),
        note='supervised on ImageNet-21k, the original ViT; not AugReg',
    ),
    KnownCheckpoint(
        name='vit-base-p16_augreg-in21k',
        arch='vit-b',
        patch_size=16,
        image_size=224,
        formats=('timm', 'google'),
        normalization='half',
        licence='Apache-2.0',
        timm='vit_base_patch16_224.augreg_in21k',
        papers=('DA-VPT',),
        note='supervised on ImageNet-21k with AugReg, as timm distributes it',
    ),
    KnownCheckpoint(
        name='vit-large-p16_augreg-in21k',
        arch='vit-l',
        patch_size=16,
        image_size=224,
        formats=('timm', 'google'),
        normalization='half',
        licence='Apache-2.0',
        timm='vit_large_patch16_224.augreg_in21k',
        note='supervised on ImageNet-21k with AugReg, as timm distributes it',
    ),
    KnownCheckpoint(
        name='vit-base-p16_mae',
        arch='vit-b',
        patch_size=16,
        image_size=224,
        formats=('mae',),
        normalization='imagenet',
        licence='CC-BY-NC-4.0',
        url='https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth',
        timm='vit_base_patch16_224.mae',
        md5='8cad7c',  # README of facebookresearch/mae
        papers=('VPT', 'Gated Prompt Tuning', 'VAPT', 'DA-VPT'),
        note='MAE on ImageNet-1k, the encoder',
    ),
    KnownCheckpoint(
        name='vit-base-p16_mocov3',
        arch='vit-b',
        patch_size=16,
        image_size=224,
        formats=('mocov3',),
        normalization='imagenet',
        licence='CC-BY-NC-4.0',
        url='https://dl.fbaipublicfiles.com/moco-v3/vit-b-300ep/'
        'linear-vit-b-300ep.pth.tar',
        papers=('VPT', 'Gated Prompt Tuning', 'VAPT', 'DA-VPT'),
        note='MoCo v3 on ImageNet-1k, 300 epochs; the checkpoint with the linear probe',
    ),
    KnownCheckpoint(
        name='vit-base-p14_dinov2',
        arch='dinov2-b',
        patch_size=14,
        image_size=518,
        formats=('mmpretrain', 'dinov2'),
        normalization='imagenet',
        licence='Apache-2.0',
        url=_OPENMMLAB + 'mmpretrain/v1.0/dinov2/'
        'vit-base-p14_dinov2-pre_3rdparty_20230426-ba246503.pth',
        timm='vit_base_patch14_dinov2.lvd142m',
        sha256='ba246503',
        note='DINOv2 without register tokens, in mmpretrain names',
    ),
    KnownCheckpoint(
        name='vit-base-p16_clip-openai',
        arch='vit-b',
        patch_size=16,
        image_size=224,
        formats=('timm', 'clip-openai', 'clip-hf'),
        normalization='clip',
        licence='MIT',
        timm='vit_base_patch16_clip_quickgelu_224.openai',
        note='vision tower of CLIP; its activation is QuickGELU',
    ),
    KnownCheckpoint(
        name='vit-base-p16_in21k-ft-in1k-384',
        arch='vit-b',
        patch_size=16,
        image_size=384,
        formats=('mmpretrain',),
        normalization='half',
        licence='Apache-2.0',
        url=_OPENMMLAB + 'mmclassification/v0/vit/finetune/vit-base-p16_in21k-pre-'
        '3rdparty_ft-64xb64_in1k-384_20210928-98e8652b.pth',
        sha256='98e8652b',
        note='ImageNet-21k, then fine-tuned on ImageNet-1k at 384 pixels',
    ),
    KnownCheckpoint(
        name='vit-large-p16_in21k-ft-in1k-384',
        arch='vit-l',
        patch_size=16,
        image_size=384,
        formats=('mmpretrain',),
        normalization='half',
        licence='Apache-2.0',
        url=_OPENMMLAB + 'mmclassification/v0/vit/finetune/vit-large-p16_in21k-pre-'
        '3rdparty_ft-64xb64_in1k-384_20210928-b20ba619.pth',
        sha256='b20ba619',
        note='ImageNet-21k, then fine-tuned on ImageNet-1k at 384 pixels',
    ),
    KnownCheckpoint(
        name='vit-large-p16_jx-384',
        arch='vit-l',
        patch_size=16,
        image_size=384,
        formats=('timm',),
        normalization='half',
        licence='Apache-2.0',
        url=_TIMM_JX + 'jx_vit_large_p16_384-b3be5167.pth',
        sha256='b3be5167',
        papers=('VPT (ADE20K)', 'DA-VPT (ADE20K)'),
        note='the weights that mmseg trains SETR from; SETR feeds ImageNet mean and '
        'std',
    ),
    KnownCheckpoint(
        name='vit-base-p16_jx-224',
        arch='vit-b',
        patch_size=16,
        image_size=224,
        formats=('timm',),
        normalization='half',
        licence='Apache-2.0',
        url=_TIMM_JX + 'jx_vit_base_p16_224-80ecf9dd.pth',
        sha256='80ecf9dd',
        note='the weights that mmseg trains UPerNet with a ViT-B from',
    ),
    KnownCheckpoint(
        name='vit-large-p16_segmenter-384',
        arch='vit-l',
        patch_size=16,
        image_size=384,
        formats=('mmseg',),
        normalization='half',
        licence='Apache-2.0',
        url=_OPENMMLAB + 'mmsegmentation/v0.5/pretrain/segmenter/'
        'vit_large_p16_384_20220308-d4efb41d.pth',
        sha256='d4efb41d',
        note='the ViT-L that mmseg trains Segmenter from, in mmseg names',
    ),
    KnownCheckpoint(
        name='vit-base-p16_mae-1600e-mmpretrain',
        arch='vit-b',
        patch_size=16,
        image_size=224,
        formats=('mmpretrain',),
        normalization='imagenet',
        licence='Apache-2.0',
        url=_OPENMMLAB + 'mmselfsup/1.x/mae/mae_vit-base-p16_8xb512-fp16-coslr-1600e_'
        'in1k/mae_vit-base-p16_8xb512-fp16-coslr-1600e_in1k_20220825-f7569ca2.pth',
        sha256='f7569ca2',
        note="OpenMMLab's own MAE training, not the weights of the papers",
    ),
    KnownCheckpoint(
        name='vit-base-p16_mocov3-mmpretrain',
        arch='vit-b',
        patch_size=16,
        image_size=224,
        formats=('mmpretrain',),
        normalization='imagenet',
        licence='Apache-2.0',
        url=_OPENMMLAB + 'mmselfsup/1.x/mocov3/mocov3_vit-base-p16_16xb256-amp-coslr-'
        '300e_in1k/mocov3_vit-base-p16_16xb256-amp-coslr-300e_in1k-224_20220826-'
        '25213343.pth',
        sha256='25213343',
        note="OpenMMLab's own MoCo v3 training, not the weights of the papers",
    ),
)

KNOWN_CHECKPOINTS = {entry.name: entry for entry in _CHECKPOINTS}
