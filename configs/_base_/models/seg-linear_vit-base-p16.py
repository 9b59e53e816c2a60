# A linear head for segmentation on the supervised ViT-B/16 (AugReg), frozen: one 1x1
# convolution on the normed last features, no hidden layer, no dropout.
_base_ = ['./upernet_vit-base-p16.py']

model = dict(
    backbone=dict(out_indices=(11,)),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=768,
        channels=768,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0,
        num_classes=150,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
    auxiliary_head=None,
)
