# SETR-PUP on ViT-L/16, frozen, as in VPT and DA-VPT: mmsegmentation's
# setr_vit-l_pup_8xb2-160k_ade20k-512x512, whose heads have 13,143,640 parameters with
# 150 classes. Weights, mean and std are SETR's, and there is no final norm.
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    backbone=dict(
        type='mmvpt.PromptedVisionTransformer',
        arch='vit-l',
        img_size=512,
        patch_size=16,
        out_type='featmap',
        out_indices=(9, 14, 19, 23),
        final_norm=False,
        interpolate_mode='bilinear',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='mmvpt://vit-large-p16_jx-384',
            normalization='imagenet',
        ),
    ),
    decode_head=dict(
        type='SETRUPHead',
        in_channels=1024,
        channels=256,
        in_index=3,
        num_classes=150,
        dropout_ratio=0,
        norm_cfg=dict(type='SyncBN'),
        num_convs=4,
        up_scale=2,
        kernel_size=3,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
    auxiliary_head=[
        dict(
            type='SETRUPHead',
            in_channels=1024,
            channels=256,
            in_index=index,
            num_classes=150,
            dropout_ratio=0,
            norm_cfg=dict(type='SyncBN'),
            act_cfg=dict(type='ReLU'),
            num_convs=2,
            up_scale=4,
            kernel_size=3,
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
        )
        for index in range(3)
    ],
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
