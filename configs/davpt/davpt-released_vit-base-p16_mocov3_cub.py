# DA-VPT as its code is released, on CUB-200-2011, MoCo v3 ViT-B/16.
# Source: https://arxiv.org/abs/2505.23694, released code, moco_cub200.yaml.
# Published: mean of the five FGVC tasks 86.16 (DA-VPT+, best epoch on test).
# Protocol: FGVC, train on train, select on val. The release picks the best of the late
# epochs on the test images; this reads them once, at the end.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/davpt/davpt-released_vit-base-p16_mocov3_cub.py 1
_base_ = [
    '../_base_/models/davpt_vit-base-p16_mocov3.py',
    '../_base_/datasets/fgvc_davpt.py',
    '../_base_/schedules/davpt_adamw_100e.py',
    '../_base_/davpt_released_runtime.py',
]

num_classes = 200
model = dict(
    backbone=dict(
        prompt=dict(
            num_classes=num_classes, num_guided_tokens=20, num_tokens=40, normalize='l2'
        ),
        tunable='davpt-released',
    ),
    head=dict(num_classes=num_classes),
)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(lr=0.005, weight_decay=1.0),
    paramwise_cfg=dict(custom_keys={'head.fc.weight': dict(decay_mult=0.1)}),
)
default_hooks = dict(
    semantic_mapping=dict(begin=1),
    metric_guidance=dict(visual_weight=0.1, cls_weight=0.02, loss=dict(scale=1.0)),
)
