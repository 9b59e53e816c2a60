# UPerNet with a MultiLevelNeck on DINOv2 ViT-L/14, frozen, for ADE20K; images are
# normalised as in pretraining. docs/backbones.md says where the weights come from.
_base_ = ['./upernet_vit-base-p16.py']

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        size=(518, 518),  # whole patches of crops of 512
    ),
    backbone=dict(
        arch='dinov2-l',
        img_size=518,
        patch_size=14,
        out_indices=(5, 11, 17, 23),
        init_cfg=dict(
            _delete_=True, type='Pretrained', checkpoint='mmvpt://vit-large-p14_dinov2'
        ),
    ),
    neck=dict(in_channels=[1024] * 4, out_channels=1024),
    decode_head=dict(in_channels=[1024] * 4),
    auxiliary_head=dict(in_channels=1024),
)
