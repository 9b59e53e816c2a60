# DA-VPT+ on COCO: RetinaNet with a simple feature pyramid on the supervised ViT-B/16
# (AugReg), frozen. Pyramid and head train along with the prompts; the classes of an
# image are those of its boxes, gt_instances.labels.
# Published: no figure of this method on COCO known to us; values are a start.
# Run: bash tools/dist_train.sh projects/mmdet/configs/davpt-plus_retinanet_coco.py 8
_base_ = ['../../../configs/_base_/davpt_runtime.py']

default_scope = 'mmdet'
custom_imports = dict(imports=['projects.mmdet.simple_feature_pyramid'])

model = dict(
    type='RetinaNet',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        # as the backbone was pretrained: 0..255 to -1..1
        mean=[127.5] * 3,
        std=[127.5] * 3,
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='mmvpt.PromptedVisionTransformer',
        arch='vit-b',
        img_size=1024,
        patch_size=16,
        out_type='featmap',
        prompt=dict(
            type='DistributionAwarePrompt',
            num_classes=80,
            num_guided_tokens=20,
            num_tokens=20,
        ),
        tunable='davpt+',
        init_cfg=dict(
            type='Pretrained', checkpoint='mmvpt://vit-base-p16_augreg-in21k'
        ),
    ),
    # strides 8, 16, 32, 64, 128
    neck=dict(
        type='SimpleFeaturePyramid', in_channels=768, scales=(2, 1, 0.5), num_outs=5
    ),
    bbox_head=dict(
        type='RetinaHead',
        num_classes=80,
        in_channels=256,
        stacked_convs=4,
        feat_channels=256,
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=3,
            ratios=[0.5, 1.0, 2.0],
            strides=[8, 16, 32, 64, 128],
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25),
        loss_bbox=dict(type='L1Loss'),
    ),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0
        ),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1,
    ),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=100,
    ),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
    dict(type='mmvpt.SeededTransforms', transforms=[dict(type='RandomFlip', prob=0.5)]),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
    # for the first map from classes to prompts too, which reads training images so
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]

data_root = 'data/coco/'
train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    sampler=dict(type='mmvpt.SeededSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='CocoMetric',
    ann_file=data_root + 'annotations/instances_val2017.json',
    metric='bbox',
)
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, end=500, by_epoch=False),
    dict(type='MultiStepLR', milestones=[8, 11], by_epoch=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

default_hooks = dict(
    # tools/test.py --show-dir switches it on
    visualization=dict(_delete_=True, type='DetVisualizationHook', draw=False),
)
visualizer = dict(type='DetLocalVisualizer')
# mmdetection's check that head and prompt have as many classes as the data
custom_hooks = [dict(type='NumClassCheckHook')]
