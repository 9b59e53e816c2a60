# Fashion-MNIST in VTAB-1k layout: 800 + 200 images to tune, 2,000 to test, 10 classes.
dataset_type = 'mmvpt.VTAB1k'
data_root = 'data/fashion_1k'
# ImageNet mean and std, as the backbone was pretrained
data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(32, 32), interpolation='bilinear', backend='cv2'),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=0,  # the cached images have 28x28 pixels: workers would only cost
    dataset=dict(
        type=dataset_type,
        task=None,
        split='train800',
        data_root=data_root,
        cache_images=True,
        pipeline=pipeline,
    ),
    sampler=dict(type='mmvpt.SeededSampler', shuffle=True),
)

val_dataloader = dict(
    batch_size=200,
    num_workers=0,
    dataset=dict(
        type=dataset_type,
        task=None,
        split='val200',
        data_root=data_root,
        cache_images=True,
        pipeline=pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))

test_dataloader = dict(
    batch_size=200,
    num_workers=0,
    dataset=dict(
        type=dataset_type,
        task=None,
        split='test',
        data_root=data_root,
        cache_images=True,
        pipeline=pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_evaluator = val_evaluator
