# seg-linear_vit-base-p16.py on the ViT-L/16 that SETR starts from.
_base_ = ['./setr-pup_vit-large-p16.py']

model = dict(
    backbone=dict(out_indices=(23,), final_norm=True),
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=1024,
        channels=1024,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0,
        num_classes=150,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
    auxiliary_head=None,
)
