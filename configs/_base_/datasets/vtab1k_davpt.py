# VTAB-1k as DA-VPT's released code reads it: the short edge to 224, bicubic, then the
# centre (VPT squashes), no augmentation, batches of 16 classes with two images each.
# Splits and selection stay those of vtab1k.py, which says how to train on all 1,000
# images. The release does, and picks the best of the late epochs on the test images.
# The mean and std are ImageNet's for every backbone, also where AugReg had 0.5.
_base_ = ['./vtab1k.py']

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    dataset=dict(pipeline=pipeline),
    batch_sampler=dict(type='mmvpt.ClassBalancedBatchSampler', samples_per_class=2),
)
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
