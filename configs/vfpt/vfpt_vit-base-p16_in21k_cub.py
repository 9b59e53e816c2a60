# VFPT on CUB-200-2011, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2411.01327 and its released code.
# Published: mean of the five FGVC tasks 89.24.
# Protocol: FGVC, train on train, select on val.
# num_tokens and ratio are placeholders: the authors' table is not in their repository;
# sweep lr and weight_decay on val (see the schedule).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vfpt/vfpt_vit-base-p16_in21k_cub.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='FourierPrompt', drop_rate=0.1, num_tokens=10, ratio=0.5)
    ),
    head=dict(num_classes=200),
)
