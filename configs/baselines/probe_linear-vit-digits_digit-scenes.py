# A linear head on the frozen ViT, on scenes of the digits 5-9, a row of `make demo-seg`.
# Run: python tools/train.py configs/baselines/probe_linear-vit-digits_digit-scenes.py
_base_ = [
    '../_base_/models/upernet_vit-digits.py',
    '../_base_/datasets/digit_scenes.py',
    '../_base_/schedules/scenes_adamw_300i.py',
]

model = dict(
    backbone=dict(out_indices=(3,)),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=64,
        in_index=0,
        channels=64,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=6,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', class_weight=[0.2] + [1.0] * 5),
    ),
)
