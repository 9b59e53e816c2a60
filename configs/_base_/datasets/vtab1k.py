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

# Squashed to 224x224 without augmentation, by TensorFlow 1's rule, as VPT, Gated Prompt
# Tuning and VAPT read it: float32, no antialiasing, no half-pixel centres. OpenCV's rule
# (with which pixels differ by 3 to 10 of 255 on average): half_pixel_centers=True.
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmvpt.BilinearResize', scale=(224, 224)),
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
