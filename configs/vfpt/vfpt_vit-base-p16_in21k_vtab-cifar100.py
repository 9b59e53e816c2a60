# VFPT on CIFAR-100 of VTAB-1k, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2411.01327 and its released code.
# Published: mean of the 7 Natural tasks 81.35.
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# num_tokens and ratio are placeholders: the authors' table is not in their repository;
# sweep lr and weight_decay on val (see the schedule).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vfpt/vfpt_vit-base-p16_in21k_vtab-cifar100.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='FourierPrompt', drop_rate=0.1, num_tokens=10, ratio=0.5)
    ),
    head=dict(num_classes=100),
)
