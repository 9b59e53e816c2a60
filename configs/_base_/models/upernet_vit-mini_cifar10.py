# UperNet on the small ViT pretrained on CIFAR-10: what every second layer wrote, at
# strides 2, 4 and 8. Images are normalised as in pretraining. For CamVid, whose classes
# weigh the square root of median frequency by frequency (of training pixels).
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(64, 64),
        seg_pad_val=255,
    ),
    backbone=dict(
        type='mmvpt.PromptedVisionTransformer',
        arch=dict(embed_dims=128, num_layers=6, num_heads=4, feedforward_channels=512),
        img_size=64,
        patch_size=4,
        out_type='featmap',
        out_indices=(1, 3, 5),
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vit-mini_cifar10.pth'),
    ),
    neck=dict(
        type='MultiLevelNeck',
        in_channels=[128] * 3,
        out_channels=32,
        scales=[2, 1, 0.5],
        norm_cfg=dict(type='BN'),
    ),
    decode_head=dict(
        type='UPerHead',
        in_channels=[32] * 3,
        in_index=[0, 1, 2],
        pool_scales=(1, 2, 4),
        channels=32,
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(
            type='CrossEntropyLoss',
            class_weight=[0.5, 0.4, 2.1, 0.4, 1.0, 0.7, 2.0, 2.0, 0.9, 2.7, 3.9],
        ),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
