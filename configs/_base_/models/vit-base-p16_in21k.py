# Classifier on the supervised ImageNet-21k ViT-B/16, frozen; VPT's head.
# `prompt` and `tunable` of the backbone say what trains besides the head.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmvpt.PromptedVisionTransformer',
        arch='vit-b',
        img_size=224,
        patch_size=16,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='mmvpt://vit-base-p16_in21k',
            # VPT, and all who follow it, feed ImageNet's mean and std to weights that
            # were pretrained with 127.5
            normalization='imagenet',
        ),
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        # VPT's head: weight N(0, 2 / num_classes), bias -ln(0.99 / 0.01)
        init_cfg=dict(type='Kaiming', layer='Linear', mode='fan_out', bias=-4.59511985),
    ),
)
