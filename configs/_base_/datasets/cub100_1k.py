# Photographs of 100 species of birds in VTAB-1k layout: 800 + 200 images to tune, 2,000
# to test; docs/results.md.
dataset_type = 'mmvpt.VTAB1k'
data_root = 'data/cub100_1k'

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(84, 84), interpolation='area', backend='cv2'),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=0,  # decoded images are kept: workers would only cost
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
    batch_size=50,
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
    batch_size=50,
    num_workers=0,
    dataset=dict(
        type=dataset_type,
        task=None,
        split='test',
        data_root=data_root,
        pipeline=pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_evaluator = val_evaluator
