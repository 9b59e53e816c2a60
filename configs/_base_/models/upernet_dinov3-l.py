# UPerNet with a MultiLevelNeck on DINOv3 ViT-L/16 under Meta's licence, frozen, for ADE20K; images are
# normalised as in pretraining. docs/backbones.md says where the weights come from.
_base_ = ['./upernet_vit-base-p16.py']

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
    backbone=dict(
        arch='dinov3-l',
        img_size=512,
        patch_size=16,
        qkv_bias=False,
        out_indices=(5, 11, 17, 23),
        init_cfg=dict(
            _delete_=True, type='Pretrained', checkpoint='mmvpt://vit-large-p16_dinov3'
        ),
    ),
    neck=dict(in_channels=[1024] * 4, out_channels=1024),
    decode_head=dict(in_channels=[1024] * 4),
    auxiliary_head=dict(in_channels=1024),
)
