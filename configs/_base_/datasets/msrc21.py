# MSRC-21: 276 photographs to train, 59 to choose settings, 256 to test, 21 classes. The
# folder is in ADE20K's layout, with masks of 0-20 and 255 for void. Images of about
# 240x160 are resized to 168x112, crops have 112x112 pixels; metrics compare maps of the
# original size. What is not said here is as for CamVid.
_base_ = ['./camvid.py']

data_root = 'data/msrc21'
crop_size = (112, 112)
check = dict(type='mmvpt.CheckSegMap', num_classes=21)
files = dict(
    metainfo=dict(
        classes=(
            'building',
            'grass',
            'tree',
            'cow',
            'sheep',
            'sky',
            'aeroplane',
            'water',
            'face',
            'car',
            'bicycle',
            'flower',
            'sign',
            'bird',
            'book',
            'chair',
            'road',
            'cat',
            'dog',
            'body',
            'boat',
        ),
        # of Pascal VOC
        palette=[
            [128, 0, 0],
            [0, 128, 0],
            [128, 128, 0],
            [0, 0, 128],
            [128, 0, 128],
            [0, 128, 128],
            [128, 128, 128],
            [64, 0, 0],
            [192, 0, 0],
            [64, 128, 0],
            [192, 128, 0],
            [64, 0, 128],
            [192, 0, 128],
            [64, 128, 128],
            [192, 128, 128],
            [0, 64, 0],
            [128, 64, 0],
            [0, 192, 0],
            [128, 192, 0],
            [0, 64, 128],
            [128, 64, 128],
        ],
    ),
    data_root=data_root,
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
                scale=(168, 112),
                ratio_range=(1.0, 1.5),
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
    dict(type='Resize', scale=(168, 112), keep_ratio=True),
    # after Resize: metrics compare maps of the original size
    dict(type='mmvpt.LoadSegMap'),
    check,
    dict(type='PackSegInputs'),
]

train_dataloader = dict(dataset=dict(**files, pipeline=train_pipeline))
# sizes differ
val_dataloader = dict(batch_size=1, dataset=dict(**files, pipeline=test_pipeline))
test_dataloader = dict(batch_size=1, dataset=dict(**files, pipeline=test_pipeline))
