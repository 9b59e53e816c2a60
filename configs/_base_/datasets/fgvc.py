# FGVC in the VPT protocol: train on 'train' alone, select on 'val', read 'test' once.
# Another task: set `name` in the three datasets and `num_classes` in the head.
# Names and class counts: FGVC.TASKS.
dataset_type = 'mmvpt.FGVC'
name = 'cub'
data_root = 'data/fgvc'
data_preprocessor = dict(
    # ImageNet mean and std, RGB, as in VPT
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

# The short edge to 256 with the aspect ratio kept (mmcv's Resize(scale=256) would
# squash). VPT resized by torchvision on PIL images: pillow's bilinear, with antialias.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, backend='pillow', interpolation='bilinear'),
    dict(
        type='mmvpt.SeededTransforms',
        transforms=[
            dict(type='RandomCrop', crop_size=224),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        ],
    ),
    dict(type='PackInputs'),
]

test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, backend='pillow', interpolation='bilinear'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    dataset=dict(
        type=dataset_type,
        name=name,
        split='train',
        data_root=data_root,
        pipeline=train_pipeline,
    ),
    sampler=dict(type='mmvpt.SeededSampler', shuffle=True),
)

val_dataloader = dict(
    batch_size=256,
    num_workers=4,
    dataset=dict(
        type=dataset_type,
        name=name,
        split='val',
        data_root=data_root,
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))

test_dataloader = dict(
    batch_size=256,
    num_workers=4,
    dataset=dict(
        type=dataset_type,
        name=name,
        split='test',
        data_root=data_root,
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_evaluator = val_evaluator
