# Pascal Context, 4,998 training and 5,105 validation images, 60 classes of which 0 is the
# background (pascal_context_59.py leaves it out). docs/data.md prepares the files.
# Transforms are mmsegmentation's for Pascal Context, with the crops of ADE20K, 512.
data_root = 'data/VOCdevkit/VOC2010'
crop_size = (512, 512)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmvpt.LoadSegMap'),
    dict(type='mmvpt.CheckSegMap', num_classes=60),
    dict(
        type='mmvpt.SeededTransforms',
        transforms=[
            dict(
                type='RandomResize',
                scale=(520, 520),
                ratio_range=(0.5, 2.0),
                keep_ratio=True,
            ),
            dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
        ],
    ),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(520, 520), keep_ratio=True),
    # after Resize: metrics compare maps of the original size
    dict(type='mmvpt.LoadSegMap'),
    dict(type='mmvpt.CheckSegMap', num_classes=60),
    dict(type='PackSegInputs'),
]
# tools/test.py --tta: multi-scale (MS) and flips, ratios of the scale above
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(
                    type='Resize',
                    scale=(int(520 * r), int(520 * r)),
                    keep_ratio=True,
                )
                for r in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
            ],
            [dict(type='RandomFlip', prob=p) for p in (0.0, 1.0)],
            [dict(type='mmvpt.LoadSegMap')],
            [dict(type='PackSegInputs')],
        ],
    ),
]

train_dataloader = dict(
    batch_size=2,  # 8 GPUs: 16
    num_workers=4,
    sampler=dict(type='mmvpt.SeededInfiniteSampler'),
    dataset=dict(
        type='PascalContextDataset',
        data_root=data_root,
        ann_file='ImageSets/SegmentationContext/train.txt',
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClassContext'
        ),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PascalContextDataset',
        data_root=data_root,
        ann_file='ImageSets/SegmentationContext/val.txt',
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClassContext'
        ),
        pipeline=test_pipeline,
    ),
)
# There are no other annotated images: as in all papers, validation is the test.
test_dataloader = val_dataloader

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
