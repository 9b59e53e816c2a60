# UPerNet on DINOv2 ViT-S/14 (22 million parameters) at 112x112 pixels, 64 patches: what
# every third layer wrote, at strides 7, 14 and 28. For the weights see dinov2-s_focus.py.
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(112, 112),
        seg_pad_val=255,
        test_cfg=dict(size_divisor=14),
    ),
    backbone=dict(
        type='mmvpt.PromptedVisionTransformer',
        arch='dinov2-s',
        img_size=112,
        patch_size=14,
        out_type='featmap',
        out_indices=(5, 8, 11),
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/dinov2_s14_focus.safetensors'
        ),
    ),
    neck=dict(
        type='MultiLevelNeck',
        in_channels=[384] * 3,
        out_channels=64,
        scales=[2, 1, 0.5],
        norm_cfg=dict(type='BN'),
    ),
    decode_head=dict(
        type='UPerHead',
        in_channels=[64] * 3,
        in_index=[0, 1, 2],
        pool_scales=(1, 2, 4),
        channels=64,
        dropout_ratio=0.1,
        num_classes=21,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
