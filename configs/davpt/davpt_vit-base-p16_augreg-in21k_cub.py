# DA-VPT on CUB-200-2011, supervised ImageNet-21k ViT-B/16 (AugReg).
# Source: https://arxiv.org/abs/2505.23694, Table 1, and its released code.
# Published: top-1 90.2, mean of the five FGVC tasks 91.22 (best epoch on test).
# Protocol: FGVC, train on train, select on val.
# From the released vitb_cub200.yaml: tokens, guided layers, loss weights, drop-path,
# optimizer. It tunes biases and more; this tunes prompts and head alone, and compares
# tokens and groups classes as the paper says: sweep the weights on val.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/davpt/davpt_vit-base-p16_augreg-in21k_cub.py 1
_base_ = [
    '../_base_/models/davpt_vit-base-p16_augreg-in21k.py',
    '../_base_/datasets/fgvc_davpt.py',
    '../_base_/schedules/davpt_adamw_100e.py',
    '../_base_/davpt_runtime.py',
]

num_classes = 200
model = dict(
    backbone=dict(
        prompt=dict(
            num_classes=num_classes,
            num_guided_tokens=10,
            num_tokens=10,
            guided_layers=(10, 11),
            normalize='l2',
        ),
        drop_path_rate=0.1,
    ),
    head=dict(num_classes=num_classes),
)
optim_wrapper = dict(
    optimizer=dict(lr=0.0005, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={'head.fc.weight': dict(decay_mult=100.0)}),
)
default_hooks = dict(metric_guidance=dict(visual_weight=0.05, cls_weight=0.05))
