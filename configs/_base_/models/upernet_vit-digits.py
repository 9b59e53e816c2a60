# UperNet on the demo's small ViT: what every second layer wrote, at strides 2, 4, 8 and
# 16. `make demo-seg` pretrains the ViT on scenes of the digits 0-4.
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        # 0..255 to -1..1
        mean=[127.5] * 3,
        std=[127.5] * 3,
        bgr_to_rgb=True,
        size=(64, 64),
        seg_pad_val=255,
    ),
    backbone=dict(
        type='mmvpt.PromptedVisionTransformer',
        arch=dict(embed_dims=64, num_layers=4, num_heads=4, feedforward_channels=256),
        img_size=64,
        patch_size=8,
        out_type='featmap',
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/demo-seg/pretrain/iter_1000.pth'
        ),
    ),
    neck=dict(
        type='MultiLevelNeck',
        in_channels=[64] * 4,
        out_channels=32,
        scales=[4, 2, 1, 0.5],
    ),
    decode_head=dict(
        type='UPerHead',
        in_channels=[32] * 4,
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2),
        channels=32,
        dropout_ratio=0.1,
        num_classes=6,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        # most pixels are background
        loss_decode=dict(type='CrossEntropyLoss', class_weight=[0.2] + [1.0] * 5),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
