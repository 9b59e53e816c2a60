# The demo's small ViT: 32x32 images, 16 patches, 214,000 parameters. `make demo`
# pretrains it; so does configs/baselines/pretrain_vit-digits_digits-source.py.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmvpt.PromptedVisionTransformer',
        arch=dict(embed_dims=64, num_layers=4, num_heads=4, feedforward_channels=256),
        img_size=32,
        patch_size=8,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/demo/pretrain/epoch_15.pth'
        ),
    ),
    # Standardises the features, so that one learning rate suits every method.
    neck=dict(type='ClsBatchNormNeck', input_features=64),
    head=dict(
        type='LinearClsHead',
        num_classes=5,
        in_channels=64,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
