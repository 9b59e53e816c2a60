# UPerNet with a MultiLevelNeck on DINOv3 ViT-B/16 under Meta's licence, frozen, for ADE20K; images are
# normalised as in pretraining. docs/backbones.md says where the weights come from.
_base_ = ['./upernet_vit-base-p16.py']

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
    backbone=dict(
        arch='dinov3-b',
        img_size=512,
        patch_size=16,
        qkv_bias=False,
        init_cfg=dict(
            _delete_=True, type='Pretrained', checkpoint='mmvpt://vit-base-p16_dinov3'
        ),
    ),
)
