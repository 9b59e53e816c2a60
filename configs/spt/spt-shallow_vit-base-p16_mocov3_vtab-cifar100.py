# SPT, shallow on CIFAR-100 of VTAB-1k, MoCo v3 ViT-B/16.
# Source: https://arxiv.org/abs/2402.02382 and its released code.
# Published: mean of the 7 Natural tasks 74.47.
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# num_tokens is the paper's; lr and decays are those of Dogs with deep prompts, the
# nearest documented task: sweep them on val.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/spt/spt-shallow_vit-base-p16_mocov3_vtab-cifar100.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mocov3.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/spt_adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='SelfPrompt', depth='shallow', num_tokens=100),
        pooling='cls',
        final_norm='pretrained',
    ),
    head=dict(
        num_classes=100,
        init_cfg=dict(
            _delete_=True, type='TruncNormal', layer='Linear', bias=0, std=0.01
        ),
    ),
)
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(
    optimizer=dict(lr=0.001, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={'head.fc.weight': dict(decay_mult=300.0)}),
)
