# Classifier on DINOv2 ViT-L/14, frozen, images normalised as in pretraining; VPT's head.
# docs/backbones.md says where the weights come from.
_base_ = ['./vit-base-p16_in21k.py']

model = dict(
    data_preprocessor=dict(
        type='ClsDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        arch='dinov2-l',
        patch_size=14,
        init_cfg=dict(
            _delete_=True, type='Pretrained', checkpoint='mmvpt://vit-large-p14_dinov2'
        ),
    ),
    head=dict(in_channels=1024),
)
