# UPerNet with a MultiLevelNeck on the image tower of SigLIP 2 B/16, frozen, for ADE20K; images are
# normalised as in pretraining. docs/backbones.md says where the weights come from.
_base_ = ['./upernet_vit-base-p16.py']

model = dict(
    data_preprocessor=dict(
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
    ),
    backbone=dict(
        arch='siglip-b',
        img_size=512,
        patch_size=16,
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='mmvpt://vit-base-p16_siglip2-256',
        ),
    ),
)
