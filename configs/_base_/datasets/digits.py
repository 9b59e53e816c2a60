# The demo's target task: upright digits 5-9, 40 training images per class.
# Written by `python tools/data/export_digits.py`, one folder for each seed.
dataset_type = 'mmvpt.VTAB1k'
data_root = 'data/digits-target-seed0'
# 0..255 to -1..1
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(32, 32), interpolation='bilinear', backend='cv2'),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=40,
    num_workers=0,  # the cached scans have 8x8 pixels: workers would only cost
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
    batch_size=100,
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
    batch_size=100,
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
