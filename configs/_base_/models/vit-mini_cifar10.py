# A small ViT pretrained on CIFAR-10 (20,000 images, 67.2 % there): 32x32 images, 64
# patches, 1.2 million parameters.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmvpt.PromptedVisionTransformer',
        arch=dict(embed_dims=128, num_layers=6, num_heads=4, feedforward_channels=512),
        img_size=32,
        patch_size=4,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vit-mini_cifar10.pth'),
    ),
    # Standardises the features, so that one learning rate suits every method.
    neck=dict(type='ClsBatchNormNeck', input_features=128),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=128,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
