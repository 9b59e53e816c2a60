# A linear head on DINOv2 ViT-S/14: one 1x1 convolution on the normed last features.
_base_ = ['./upernet_dinov2-s_focus.py']

model = dict(
    backbone=dict(out_indices=(11,)),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=384,
        in_index=0,
        channels=384,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=21,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
