# Classifier on the image tower of SigLIP 2 B/16, frozen, images normalised as in pretraining; VPT's head.
# docs/backbones.md says where the weights come from.
_base_ = ['./vit-base-p16_in21k.py']

model = dict(
    data_preprocessor=dict(
        type='ClsDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        to_rgb=True,
    ),
    backbone=dict(
        arch='siglip-b',
        patch_size=16,
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='mmvpt://vit-base-p16_siglip2-256',
        ),
    ),
)
