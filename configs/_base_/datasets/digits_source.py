# The demo's source task for pretraining: digits 0-4 in four rotations, 20 classes.
# Written by `python tools/data/export_digits.py`.
dataset_type = 'mmvpt.VTAB1k'
data_root = 'data/digits-source'
# 0..255 to -1..1
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(32, 32), interpolation='bilinear', backend='cv2'),
    dict(
        type='mmvpt.SeededTransforms',
        # shifts by up to two pixels; the background is 0
        transforms=[dict(type='RandomCrop', crop_size=32, padding=2)],
    ),
    dict(type='PackInputs'),
]

test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(32, 32), interpolation='bilinear', backend='cv2'),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=0,  # the cached scans have 8x8 pixels: workers would only cost
    dataset=dict(
        type=dataset_type,
        task=None,
        split='train',
        data_root=data_root,
        cache_images=True,
        pipeline=train_pipeline,
    ),
    sampler=dict(type='mmvpt.SeededSampler', shuffle=True),
)

val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    dataset=dict(
        type=dataset_type,
        task=None,
        split='val',
        data_root=data_root,
        cache_images=True,
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
