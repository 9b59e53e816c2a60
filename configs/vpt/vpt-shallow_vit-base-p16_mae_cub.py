# VPT-shallow on CUB-200-2011, MAE ViT-B/16.
# Source: https://arxiv.org/abs/2306.05067, Table 1.
# Published: top-1 42.15, mean of the five FGVC tasks 57.84 (one seed).
# Protocol: FGVC, train on train, select on val.
# num_tokens is the table's; its recipe is not released: sweep lr and weight_decay on
# val (see the schedule).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vpt/vpt-shallow_vit-base-p16_mae_cub.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mae.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='ShallowPrompt', num_tokens=100),
        pooling='prompts_and_patches',
        norm_before_pool=False,
        final_norm='pretrained',
    ),
    head=dict(num_classes=200),
)
