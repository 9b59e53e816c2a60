# VIPAMIN, shallow on CIFAR-100 of VTAB-1k, MoCo v3 ViT-B/16.
# Source: https://arxiv.org/abs/2510.16446 and its released code.
# Published: mean of the 7 Natural tasks 76.75.
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# num_tokens as in the paper; sweep lr, num_matches and orthogonal on val
# (configs/search/vipamin.py).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vipamin/vipamin_vit-base-p16_mocov3_vtab-cifar100.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mocov3.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(
            type='VipaminPrompt', num_matches=8, orthogonal=0.5, num_tokens=100
        ),
        pooling='cls',
        final_norm='pretrained',
    ),
    head=dict(num_classes=100),
)
train_dataloader = dict(batch_size=32)
