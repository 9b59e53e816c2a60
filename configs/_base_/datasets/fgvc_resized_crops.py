# FGVC with random resized crops, bicubic, in batches of 32: how the released code of
# DA-VPT, SPT and BPT reads it. Splits and selection stay those of fgvc.py: these releases
# pick the best epoch on the test images.
# The mean and std are ImageNet's for every backbone, also where AugReg had 0.5.
_base_ = ['./fgvc.py']

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='mmvpt.SeededTransforms',
        transforms=[
            dict(
                type='RandomResizedCrop',
                scale=224,
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        ],
    ),
    dict(type='PackInputs'),
]

test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
