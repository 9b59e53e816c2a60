# seg-linear_vit-base-p16.py on DINOv2's ViT-B/14, with the final norm.
_base_ = ['./seg-linear_vit-base-p16.py']

model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        img_size=518,
        patch_size=14,
        layer_scale_init_value=1e-5,
        init_cfg=dict(checkpoint='mmvpt://vit-base-p14_dinov2'),
    ),
)
