# DA-VPT as its code is released, on Stanford Dogs, MoCo v3 ViT-B/16.
# Source: https://arxiv.org/abs/2505.23694, released code, moco_dogs.yaml.
# Published: mean of the five FGVC tasks 86.16 (DA-VPT+, best epoch on test).
# Protocol: FGVC, train on train, select on val. The release picks the best of the late
# epochs on the test images; this reads them once, at the end.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/davpt/davpt-released_vit-base-p16_mocov3_dogs.py 1
_base_ = [
    '../_base_/models/davpt_vit-base-p16_mocov3.py',
    '../_base_/datasets/fgvc_davpt.py',
    '../_base_/schedules/davpt_adamw_100e.py',
    '../_base_/davpt_released_runtime.py',
]

num_classes = 120
model = dict(
    backbone=dict(
        prompt=dict(num_classes=num_classes, num_guided_tokens=10, num_tokens=5),
        drop_path_rate=0.0,
        tunable='davpt-released',
    ),
    head=dict(num_classes=num_classes),
)
train_dataloader = dict(dataset=dict(name='dogs'))
val_dataloader = dict(dataset=dict(name='dogs'))
test_dataloader = dict(dataset=dict(name='dogs'))
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(lr=0.005, weight_decay=0.0001),
    paramwise_cfg=dict(custom_keys={'head.fc.weight': dict(decay_mult=500.0)}),
)
default_hooks = dict(
    semantic_mapping=dict(begin=10),
    metric_guidance=dict(visual_weight=0.01, cls_weight=0.03),
)
