# Pretraining of the segmentation demo's ViT from scratch, with a linear head: scenes of
# the digits 0-4, upright and turned left.
# Run: python tools/train.py configs/baselines/pretrain_linear-vit-digits_digit-scenes-source.py
_base_ = [
    '../_base_/models/upernet_vit-digits.py',
    '../_base_/datasets/digit_scenes_source.py',
    '../_base_/schedules/scenes_adamw_300i.py',
]

model = dict(
    backbone=dict(tunable='full', init_cfg=None, out_indices=(3,)),
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
        num_classes=11,
        align_corners=False,
        # most pixels are background
        loss_decode=dict(type='CrossEntropyLoss', class_weight=[0.1] + [1.0] * 10),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.002, weight_decay=0.05))
train_cfg = dict(max_iters=1000, val_interval=1000)
