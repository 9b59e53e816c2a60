# ADE20K, 20,210 training and 2,000 validation images, 150 classes. In the masks 1 is the
# first class and 0 is 'other', which does not count. docs/data.md prepares the files.
# Transforms are mmsegmentation's for ADE20K; crops are multiples of the patch size.
data_root = 'data/ade/ADEChallengeData2016'
crop_size = (512, 512)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmvpt.LoadSegMap'),
    dict(type='mmvpt.CheckSegMap', num_classes=150),
    dict(
        type='mmvpt.SeededTransforms',
        transforms=[
            dict(
                type='RandomResize',
                scale=(2048, 512),
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
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    # after Resize: metrics compare maps of the original size
    dict(type='mmvpt.LoadSegMap'),
    dict(type='mmvpt.CheckSegMap', num_classes=150),
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
                    scale=(int(2048 * r), int(512 * r)),
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
        type='ADE20KDataset',
        data_root=data_root,
        data_prefix=dict(
            img_path='images/training', seg_map_path='annotations/training'
        ),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ADE20KDataset',
        data_root=data_root,
        data_prefix=dict(
            img_path='images/validation', seg_map_path='annotations/validation'
        ),
        pipeline=test_pipeline,
    ),
)
# ADE20K's test masks are not public: as in all papers, validation is the test.
test_dataloader = val_dataloader

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
