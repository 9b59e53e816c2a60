# Scenes of the digits 5-9 with pixel labels, 160 to train, 96x96 pixels; crops of 64x64.
# Written by `make demo-seg`, one folder
# for each seed.
data_root = 'data/digit-scenes-seed0'
crop_size = (64, 64)
# Okabe and Ito's colours, which the colour-blind can tell apart
metainfo = dict(
    classes=('background', '5', '6', '7', '8', '9'),
    palette=[
        [0, 0, 0],
        [230, 159, 0],
        [86, 180, 233],
        [0, 158, 115],
        [240, 228, 66],
        [213, 94, 0],
    ],
)
files = dict(
    type='BaseSegDataset',
    metainfo=metainfo,
    data_root=data_root,
    img_suffix='.png',
    seg_map_suffix='.png',
    reduce_zero_label=False,
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmvpt.LoadSegMap'),
    dict(
        type='mmvpt.SeededTransforms',
        transforms=[dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.95)],
    ),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmvpt.LoadSegMap'),
    dict(type='PackSegInputs'),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='mmvpt.SeededInfiniteSampler'),
    dataset=dict(
        **files,
        data_prefix=dict(
            img_path='images/training', seg_map_path='annotations/training'
        ),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **files,
        data_prefix=dict(
            img_path='images/validation', seg_map_path='annotations/validation'
        ),
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=10,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **files,
        data_prefix=dict(img_path='images/test', seg_map_path='annotations/test'),
        pipeline=test_pipeline,
    ),
)

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
