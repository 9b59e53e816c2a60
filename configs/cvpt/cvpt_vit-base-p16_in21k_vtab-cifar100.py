# CVPT on CIFAR-100 of VTAB-1k, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2408.14961 and its released code.
# Published: mean of the 7 Natural tasks 83.3.
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# num_tokens and lr as released, for FGVC weight_decay and batch size too; for VTAB-1k
# those that its code really uses.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/cvpt/cvpt_vit-base-p16_in21k_vtab-cifar100.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/cvpt_adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='CrossPrompt', num_tokens=10), drop_path_rate=0.1),
    head=dict(num_classes=100),
)
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=0.001, weight_decay=0.05))
