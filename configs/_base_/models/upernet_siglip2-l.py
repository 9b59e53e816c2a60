# UPerNet with a MultiLevelNeck on the image tower of SigLIP 2 L/16, frozen, for ADE20K; images are
# normalised as in pretraining. docs/backbones.md says where the weights come from.
_base_ = ['./upernet_vit-base-p16.py']

model = dict(
    data_preprocessor=dict(
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
    ),
    backbone=dict(
        arch='siglip-l',
        img_size=512,
        patch_size=16,
        out_indices=(5, 11, 17, 23),
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='mmvpt://vit-large-p16_siglip2-256',
        ),
    ),
    neck=dict(in_channels=[1024] * 4, out_channels=1024),
    decode_head=dict(in_channels=[1024] * 4),
    auxiliary_head=dict(in_channels=1024),
)
