# A linear head on the frozen ViT.
# CamVid, a small ViT pretrained on CIFAR-10; docs/results.md.
# Run: python tools/train.py configs/baselines/probe_linear-vit-mini_camvid.py
_base_ = ['./frozen_upernet-vit-mini_camvid.py']

model = dict(
    backbone=dict(out_indices=(5,)),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=128,
        in_index=0,
        channels=128,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=11,
        align_corners=False,
        loss_decode=dict(
            type='CrossEntropyLoss',
            class_weight=[0.5, 0.4, 2.1, 0.4, 1.0, 0.7, 2.0, 2.0, 0.9, 2.7, 3.9],
        ),
    ),
)
