# VTAB-1k, tuning: train on train800, select on val200; VPT's pre-processing.
# Another task: set `task` in the three datasets, `num_classes` in the head and, below
# 5 classes, `topk=(1, )` in both evaluators. Names and class counts: VTAB1k.TASKS.
# Final training on all 1,000 images: vtab1k_final.py, or on the command line
#   --no-validate --cfg-options train_dataloader.dataset.split=train800val200
dataset_type = 'mmvpt.VTAB1k'
task = 'cifar100'
data_root = 'data/vtab-1k'
data_preprocessor = dict(
    # ImageNet mean and std, RGB, as in VPT
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

# Squashed to 224x224 without augmentation. OpenCV's bilinear interpolation, like the
# tf.image.resize that VPT used, does not antialias; pillow's would.
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(224, 224), interpolation='bilinear', backend='cv2'),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(
        type=dataset_type,
        task=task,
        split='train800',
        data_root=data_root,
        cache_images=True,
        pipeline=pipeline,
    ),
    sampler=dict(type='mmvpt.SeededSampler', shuffle=True),
)

val_dataloader = dict(
    batch_size=256,
    num_workers=2,
    dataset=dict(
        type=dataset_type,
        task=task,
        split='val200',
        data_root=data_root,
        cache_images=True,
        pipeline=pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))

test_dataloader = dict(
    batch_size=256,
    num_workers=2,
    dataset=dict(
        type=dataset_type,
        task=task,
        split='test',
        data_root=data_root,
        pipeline=pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_evaluator = val_evaluator
