# CamVid, street scenes: 367 images to train, 101 to choose settings, 233 to test, 11
# classes (SegNet's split and classes). The folder is in ADE20K's layout, with masks of
# 0-10 and 255 for void. Images of 240x180 are halved (about), crops have 64x64 pixels;
# metrics compare maps of the original size.
data_root = 'data/camvid'
crop_size = (64, 64)
check = dict(type='mmvpt.CheckSegMap', num_classes=11)
files = dict(
    type='BaseSegDataset',
    metainfo=dict(
        classes=(
            'sky',
            'building',
            'pole',
            'road',
            'pavement',
            'tree',
            'signsymbol',
            'fence',
            'car',
            'pedestrian',
            'bicyclist',
        ),
        # SegNet's
        palette=[
            [128, 128, 128],
            [128, 0, 0],
            [192, 192, 128],
            [128, 64, 128],
            [60, 40, 222],
            [128, 128, 0],
            [192, 128, 128],
            [64, 64, 128],
            [64, 0, 128],
            [64, 64, 0],
            [0, 128, 192],
        ],
    ),
    data_root=data_root,
    img_suffix='.jpg',
    seg_map_suffix='.png',
    reduce_zero_label=False,
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmvpt.LoadSegMap'),
    check,
    dict(
        type='mmvpt.SeededTransforms',
        transforms=[
            dict(
                type='RandomResize',
                scale=(128, 96),
                ratio_range=(0.75, 1.5),
                keep_ratio=True,
            ),
            dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
            dict(type='RandomFlip', prob=0.5),
        ],
    ),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 96), keep_ratio=True),
    # after Resize: metrics compare maps of the original size
    dict(type='mmvpt.LoadSegMap'),
    check,
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
    batch_size=8,
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
    batch_size=8,
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
